import { type ClientRequest, Agent as HttpAgent, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { Socket } from 'node:net';
import { MAX_HEADER_BYTES } from './limits.js';

export interface UpstreamRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  /** A connection of its own, that nothing was sent on before. */
  readonly isFresh?: boolean;
}

/** One HTTP server that requests go on to, by connections that are kept. */
export class Upstream {
  readonly #address: { readonly host: string; readonly port: number };
  readonly #agent: HttpAgent;
  readonly #isSecure: boolean;

  constructor(
    /** `http://host:port` or `https://…`. */
    readonly origin: string,
    idleMs: number,
    private readonly connectMs: number,
  ) {
    const { protocol, hostname, port } = new URL(origin);
    this.#isSecure = protocol === 'https:';
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    this.#address = { host, port: port === '' ? (this.#isSecure ? 443 : 80) : Number(port) };
    // Last in, first out: what is not needed gets idle, and is closed before the server closes it.
    const agent = { keepAlive: true, scheduling: 'lifo', timeout: idleMs } as const;
    this.#agent = this.#isSecure ? new HttpsAgent(agent) : new HttpAgent(agent);
  }

  /**
   * A request that nothing was sent of yet. `connected` is called once it has a connection; before that an error means that the
   * server saw nothing of it.
   */
  request({ method, target, headers, isFresh = false }: UpstreamRequest, connected: () => void): ClientRequest {
    const make = this.#isSecure ? requestHttps : requestHttp;
    const { host, port } = this.#address;
    // No spread: this is done for each request.
    const request = make({
      host,
      port,
      method,
      path: target,
      headers,
      maxHeaderSize: MAX_HEADER_BYTES,
      agent: isFresh ? false : this.#agent,
    });
    request.on('socket', (socket) => {
      if (!socket.connecting) connected();
      else this.#await(request, socket, connected);
    });
    return request;
  }

  close(): void {
    this.#agent.destroy();
  }

  #await(request: ClientRequest, socket: Socket, connected: () => void): void {
    const event = this.#isSecure ? 'secureConnect' : 'connect';
    const late = () => request.destroy(new Error(`no connection to ${this.origin} after ${this.connectMs} ms`));
    const timer = setTimeout(late, this.connectMs);
    socket.setNoDelay(true);
    socket.once('close', () => clearTimeout(timer));
    socket.once(event, () => {
      clearTimeout(timer);
      connected();
    });
  }
}
