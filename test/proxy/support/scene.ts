import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { ProxyConfig } from '../../../src/config/index.js';
import { HttpProxy } from '../../../src/proxy/http-proxy.js';
import { keysOf } from '../../../src/proxy/keys.js';
import type { NodeFacts } from '../../../src/proxy/link-messages.js';
import { NodeView } from '../../../src/proxy/node-view.js';

export const KEYS = keysOf('a secret of the cluster');
export const LINEAGE = '00000000000000aa';

export const CONFIG: ProxyConfig = {
  listen: { host: '127.0.0.1', port: 0 },
  target: 'http://127.0.0.1:1',
  advertise: null,
  primary: null,
  databases: null,
  passthrough: [],
  alwaysForward: [],
  flyReplay: null,
  trustForwarded: false,
  waitMs: 300,
  afterWait: 'primary',
  primaryWaitMs: 300,
  settleMs: 1000,
  connectMs: 1000,
  responseMs: 10_000,
  idleMs: 10_000,
  drainMs: 1000,
  maxConnections: 1000,
  cookie: { name: '__sluice', maxAgeMs: 300_000, secure: false },
  header: 'sluice-position',
};

export const FACTS: NodeFacts = {
  role: 'primary',
  ready: true,
  primary: null,
  connected: true,
  lagMs: 0,
  lineage: LINEAGE,
  unfit: null,
};

/** A proxy in this process, in front of `target`, whose node is what the test says. */
export class ProxyScene {
  readonly view: NodeView;
  readonly proxy: HttpProxy;
  readonly errors: unknown[] = [];
  port = 0;
  settles = 0;
  /** What a settle does: it may move databases, and says whether all is known. */
  onSettle: () => boolean | Promise<boolean> = () => true;

  private constructor(config: Partial<ProxyConfig>) {
    const whole = { ...CONFIG, ...config };
    this.view = new NodeView(whole.databases);
    this.proxy = new HttpProxy({
      config: whole,
      keys: KEYS,
      view: this.view,
      settle: async () => {
        this.settles++;
        return this.onSettle();
      },
      log: { error: (fields) => this.errors.push(fields) },
    });
  }

  /** `facts` undefined: no node yet. */
  static async start(
    target: number,
    facts: Partial<NodeFacts> | undefined,
    config: Partial<ProxyConfig> = {},
  ): Promise<ProxyScene> {
    const scene = new ProxyScene({ target: `http://127.0.0.1:${target}`, ...config });
    if (facts !== undefined) scene.link(facts);
    scene.port = (await scene.proxy.listen()).port;
    opened.push(() => scene.proxy.stop());
    return scene;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  link(facts: Partial<NodeFacts>): void {
    this.view.began();
    this.view.heard({ kind: 'facts', facts: { ...FACTS, ...facts } });
    this.view.heard({ kind: 'whole' });
  }

  moved(name: string, txid: number): void {
    this.view.heard({ kind: 'positions', positions: [[name, txid]] });
  }

  told(name: string, txid: number, asOfMs = 0): void {
    this.view.heard({ kind: 'told', isNew: false, positions: [[name, txid]], asOfMs });
  }
}

const opened: (() => Promise<unknown> | unknown)[] = [];

/** An application in this process; resolves with its port. */
export async function serve(
  listener: RequestListener,
  prepare: (server: Server) => void = () => undefined,
): Promise<number> {
  const server = createServer(listener);
  prepare(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

export async function closeAll(): Promise<void> {
  await Promise.all(opened.splice(0).map((close) => close()));
}

/** A connection on which a test says what it wants, byte by byte. */
export class RawClient {
  text = '';
  ended = false;
  readonly socket: Socket;
  #wake: () => void = () => undefined;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (data) => {
      this.text += data.toString('latin1');
      this.#wake();
    });
    this.socket.on('close', () => {
      this.ended = true;
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    opened.push(() => this.socket.destroy());
  }

  send(...lines: string[]): void {
    this.socket.write(lines.join('\r\n'), 'latin1');
  }

  /** Resolves when what came matches; rejects if the connection ends before, or after ten seconds. */
  async got(pattern: RegExp): Promise<RegExpExecArray> {
    const endMs = performance.now() + 10_000;
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      if (this.ended || performance.now() > endMs) throw new Error(`no ${pattern} in ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async close(): Promise<void> {
    while (!this.ended) await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
