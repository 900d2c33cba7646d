import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const PIECE_MS = 10;

/** A TCP link on loopback that carries so many bytes a second from the far end, and anything from the near one. */
export class SlowLink {
  private readonly sockets = new Set<Socket>();
  private server: Server | undefined;
  url = '';

  constructor(private readonly bytesPerSecond: number) {}

  async to(url: string): Promise<this> {
    const server = createServer((near) => {
      const far = dial(Number(new URL(url).port), '127.0.0.1');
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.sockets.add(socket);
        socket.on('error', () => undefined).on('close', () => other.destroy());
      }
      near.pipe(far);
      void this.carry(far, near);
    });
    this.server = server;
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const address = server.address();
    this.url = `ws://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
    return this;
  }

  close(): void {
    this.server?.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private async carry(from: Socket, to: Socket): Promise<void> {
    const piece = Math.ceil((this.bytesPerSecond * PIECE_MS) / 1000);
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += piece) {
          to.write(chunk.subarray(at, at + piece));
          await pause(PIECE_MS);
        }
      }
    } catch {
      // The connection has ended.
    }
    to.destroy();
  }
}
