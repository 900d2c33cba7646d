import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { decodeMessage, type Message } from '../../src/replication/messages.js';

type Way = (message: Message, bytes: Buffer) => Buffer | undefined;

/** Stands between a replica and its primary and can change, drop or add messages. */
export class Meddler {
  /** What becomes of a message of the primary: other bytes, or undefined to lose it. */
  toReplica: Way = (_, bytes) => bytes;
  connections = 0;
  /** What the replica said of a refusal or a problem. */
  readonly saidByReplica: Message[] = [];
  readonly saidByPrimary: Message[] = [];
  private readonly server: WebSocketServer;
  private downstream: WebSocket | undefined;
  private upstream: WebSocket | undefined;

  private constructor(private readonly target: string) {
    this.server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
    this.server.on('connection', (socket) => this.join(socket));
  }

  static async start(target: string): Promise<Meddler> {
    const meddler = new Meddler(target);
    await new Promise((resolve) => meddler.server.once('listening', resolve));
    return meddler;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Adds bytes of its own to the stream. */
  tellReplica(bytes: Buffer): void {
    this.downstream?.send(bytes);
  }

  tellPrimary(bytes: Buffer): void {
    this.upstream?.send(bytes);
  }

  stop(): void {
    for (const socket of [this.downstream, this.upstream]) socket?.terminate();
    this.server.close();
  }

  private join(downstream: WebSocket): void {
    this.connections++;
    const upstream = new WebSocket(this.target, { perMessageDeflate: false });
    const waiting: Buffer[] = [];
    this.downstream = downstream;
    this.upstream = upstream;
    upstream.on('open', () => {
      for (const bytes of waiting.splice(0)) upstream.send(bytes);
    });
    downstream.on('message', (bytes: Buffer) => {
      this.saidByReplica.push(decodeMessage(bytes));
      if (upstream.readyState === WebSocket.OPEN) upstream.send(bytes);
      else waiting.push(bytes);
    });
    upstream.on('message', (bytes: Buffer) => {
      const message = decodeMessage(bytes);
      this.saidByPrimary.push(message);
      const passed = this.toReplica(message, bytes);
      if (passed !== undefined) downstream.send(passed);
    });
    for (const [one, other] of [
      [downstream, upstream],
      [upstream, downstream],
    ] as const) {
      one.on('close', () => other.terminate());
      one.on('error', () => other.terminate());
    }
  }
}
