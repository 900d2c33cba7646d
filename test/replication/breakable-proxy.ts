import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/** A TCP proxy on loopback whose connections a test can break. */
export class BreakableProxy {
  url = '';
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  private constructor(targetPort: number) {
    this.server = createServer((near) => {
      const far = dial(targetPort, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.sockets.add(from);
        from.on('error', () => {});
        from.on('close', () => {
          this.sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
  }

  static async to(url: string): Promise<BreakableProxy> {
    const proxy = new BreakableProxy(Number(new URL(url).port));
    await new Promise<void>((done) => proxy.server.listen(0, '127.0.0.1', done));
    const address = proxy.server.address();
    proxy.url = `ws://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
    return proxy;
  }

  /** Breaks every connection where it is. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** From now on nothing arrives and nothing breaks, until it flows again. */
  stall(): void {
    for (const socket of this.sockets) socket.pause();
  }

  flow(): void {
    for (const socket of this.sockets) socket.resume();
  }

  close(): void {
    this.server.close();
    this.cut();
  }
}
