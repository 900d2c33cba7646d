import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatListen, type ListenAddress, type ProxyConfig } from '../config/index.js';
import { errorCode, SluiceError } from '../errors.js';
import { badRequest, json } from './answers.js';
import type { Exchange } from './exchange.js';
import { hasBody } from './header-rules.js';
import type { ProxyKeys } from './keys.js';
import { HEAD_LIMIT_MS, MAX_HEADER_BYTES, SWEEP_MS } from './limits.js';
import type { NodeView } from './node-view.js';
import { newCounts, type ProxyCounts } from './proxy-counts.js';
import { proxyHealth } from './proxy-health.js';
import { Router } from './router.js';
import { isWebSocket } from './tunnel.js';
import { HttpVisitor, UpgradeVisitor, type Visitor } from './visitor.js';
import { Waits } from './waits.js';

const OWN_PATH = '/.sluice/';
const DRAIN_LOOK_MS = 50;

export interface HttpProxyOptions {
  readonly config: ProxyConfig;
  readonly keys: ProxyKeys;
  readonly view: NodeView;
  readonly settle: (limitMs: number) => Promise<boolean>;
  readonly log: { error(fields: object, message: string): void };
}

/** The HTTP server in front of the application. */
export class HttpProxy {
  readonly counts: ProxyCounts = newCounts();
  readonly #server: Server;
  readonly #router: Router;
  readonly #waits = new Waits();
  readonly #under = new Set<Exchange>();
  readonly #sockets = new Set<Socket>();
  readonly #unsubscribe: () => void;
  #sweeper: NodeJS.Timeout | undefined;
  #isStopping = false;

  constructor(private readonly options: HttpProxyOptions) {
    const { config, keys, view, settle } = options;
    this.#router = new Router({ config, keys, view, settle, waits: this.#waits, counts: this.counts });
    this.#unsubscribe = view.subscribe(() => this.#waits.check());
    this.#server = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      // A body may take any time as long as it moves.
      requestTimeout: 0,
      headersTimeout: HEAD_LIMIT_MS,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: config.idleMs,
      insecureHTTPParser: false,
    });
    const server = this.#server;
    server.maxConnections = config.maxConnections;
    server.on('request', (request, response) => this.#onRequest(request, response, false));
    server.on('checkContinue', (request, response) => this.#onRequest(request, response, true));
    server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket as Socket, head));
    server.on('drop', () => this.counts.dropped++);
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** Throws `PROXY_LISTEN`. */
  async listen(): Promise<ListenAddress> {
    const { listen } = this.options.config;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('listening', resolve);
      this.#server.once('error', (cause) => {
        const hint =
          errorCode(cause) === 'EADDRINUSE'
            ? 'Another program has that port: set proxy.listen to another one'
            : 'Set proxy.listen to an address of this machine';
        const text = `the proxy cannot listen on ${formatListen(listen)} (${errorCode(cause)})`;
        reject(new SluiceError('PROXY_LISTEN', text, hint, { cause }));
      });
      this.#server.listen(listen.port, listen.host);
    });
    this.#server.on('error', (error) => this.options.log.error({ err: error }, 'proxy'));
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS).unref();
    const bound = this.#server.address();
    return { host: listen.host, port: typeof bound === 'object' && bound !== null ? bound.port : listen.port };
  }

  /** Takes no more connections, lets what is under way end, for so long at most, then ends it. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#server.close();
    const endMs = performance.now() + this.options.config.drainMs;
    while (this.#sockets.size > 0 && performance.now() < endMs) {
      this.#server.closeIdleConnections();
      await sleep(DRAIN_LOOK_MS);
    }
    for (const socket of this.#sockets) socket.destroy();
    clearInterval(this.#sweeper);
    this.#unsubscribe();
    this.#router.close();
  }

  #onRequest(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    if (this.#isStopping) response.shouldKeepAlive = false;
    // Its close tells that the client is gone; what was still written to it is of no interest.
    response.on('error', () => undefined);
    if (request.url?.startsWith(OWN_PATH) === true) {
      this.#ownPage(request, response);
      return;
    }
    void this.#serve(new HttpVisitor(request, response, expectsContinue, this.#under));
  }

  #onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    if (isWebSocket(request) && !hasBody(request)) {
      this.counts.tunnels++;
      void this.#serve(new UpgradeVisitor(request, socket, head));
      return;
    }
    // Whoever asks for another protocol is answered in this one.
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    response.once('finish', () => socket.destroySoon());
    socket.on('error', () => socket.destroy());
    if (hasBody(request)) {
      this.counts.refused++;
      json(request, response, 501, { error: 'no upgrade with a body', code: 'PROXY_BAD_REQUEST' });
    } else this.#onRequest(request, response, false);
  }

  async #serve(visitor: Visitor): Promise<void> {
    try {
      await this.#router.serve(visitor);
    } catch (error) {
      this.counts.refused++;
      this.options.log.error({ err: error }, 'a request failed');
      visitor.refuse(badRequest(500, 'internal error'));
    }
  }

  #ownPage(request: IncomingMessage, response: ServerResponse): void {
    const { view } = this.options;
    const path = request.url?.split('?', 1)[0];
    if (path !== `${OWN_PATH}health`) {
      json(request, response, 404, { error: 'no such page; there is /.sluice/health' });
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      json(request, response, 405, { error: 'only GET and HEAD' }, { allow: 'GET, HEAD' });
    } else {
      const health = proxyHealth(view.facts, view.linked, this.#isStopping);
      json(request, response, health.status === 'ok' ? 200 : 503, health);
    }
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const exchange of this.#under) exchange.sweep(nowMs);
  }
}
