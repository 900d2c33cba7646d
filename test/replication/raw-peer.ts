import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { type Position, ZERO_POSITION } from '../../src/ltx/index.js';
import { MESSAGE_COST_BYTES } from '../../src/replication/limits.js';
import { decodeMessage, encodeMessage, type Message, PROTOCOL_VERSION } from '../../src/replication/messages.js';
import { eventually } from './fakes.js';

/** The end of a connection that a test holds itself: sends any bytes, notes what comes. */
export class RawPeer {
  readonly messages: Message[] = [];
  closeCode: number | undefined;
  /** HTTP status if the upgrade was refused. */
  httpStatus: number | undefined;
  /** LTX bytes that came. */
  ltxBytes = 0;
  /** Gives the window back as messages come. */
  takes = false;
  private socket: Socket | undefined;

  constructor(readonly ws: WebSocket) {
    ws.on('message', (data) => {
      const message = decodeMessage(data as Buffer);
      if (message.type === 'transaction') this.took(message.name, message.ltx.length);
      if (message.type === 'large-chunk') this.took(message.name, message.bytes.length);
      this.messages.push(message);
    });
    ws.on('upgrade', (response) => {
      this.socket = response.socket;
    });
    ws.on('unexpected-response', (_request, response) => {
      this.httpStatus = response.statusCode;
      ws.terminate();
    });
    ws.on('error', () => {});
    ws.on('close', (code) => {
      this.closeCode = code;
    });
  }

  static async connect(url: string, headers: Record<string, string> = {}): Promise<RawPeer> {
    const peer = new RawPeer(new WebSocket(url, { headers }));
    const { ws } = peer;
    await eventually(
      () => ws.readyState === WebSocket.OPEN || ws.readyState === WebSocket.CLOSED,
      'connected or refused',
    );
    return peer;
  }

  /** Connects and says hello as a replica. */
  static async replica(
    url: string,
    nodeId: string,
    positions: ReadonlyMap<string, Position> = new Map(),
  ): Promise<RawPeer> {
    const peer = await RawPeer.connect(url);
    peer.send({ type: 'hello', version: PROTOCOL_VERSION, nodeId, name: nodeId, positions });
    await peer.got('hello-reply');
    return peer;
  }

  private took(name: string, bytes: number): void {
    this.ltxBytes += bytes;
    if (this.takes) this.ack(name, bytes + MESSAGE_COST_BYTES, null);
  }

  send(message: Message): void {
    this.ws.send(encodeMessage(message));
  }

  ack(name: string, bytes: number, position: Position | null = ZERO_POSITION): void {
    this.send({ type: 'ack', name, position, bytes });
  }

  of<T extends Message['type']>(type: T): Extract<Message, { type: T }>[] {
    return this.messages.filter((message): message is Extract<Message, { type: T }> => message.type === type);
  }

  async got<T extends Message['type']>(type: T, count = 1): Promise<Extract<Message, { type: T }>> {
    await eventually(() => this.of(type).length >= count, `${count} of ${type}`);
    return this.of(type)[count - 1]!;
  }

  async closed(): Promise<number> {
    await eventually(() => this.closeCode !== undefined, 'closed');
    return this.closeCode!;
  }

  /** Stops reading at the socket, as a process that hangs. */
  pause(): void {
    this.socket!.pause();
  }

  resume(): void {
    this.socket!.resume();
  }
}

/** A made-up primary, which sends what the test says. */
export class RawPrimary {
  readonly peers: RawPeer[] = [];
  url = '';

  private constructor(private readonly server: WebSocketServer) {
    server.on('connection', (ws) => this.peers.push(new RawPeer(ws)));
  }

  static async listen(): Promise<RawPrimary> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await new Promise((done) => server.once('listening', done));
    const primary = new RawPrimary(server);
    const address = server.address();
    primary.url = `ws://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
    return primary;
  }

  /** The connection number `count`, after its hello. */
  async peer(count = 1): Promise<RawPeer> {
    await eventually(() => this.peers.length >= count, `connection ${count}`);
    await this.peers[count - 1]!.got('hello');
    return this.peers[count - 1]!;
  }

  close(): void {
    for (const { ws } of this.peers) ws.terminate();
    this.server.close();
  }
}
