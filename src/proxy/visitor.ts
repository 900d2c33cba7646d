import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Refusal, refuse, refuseRaw } from './answers.js';
import { Exchange, type ExchangeEnd } from './exchange.js';
import { tunnel } from './tunnel.js';
import type { Way } from './way.js';

/** Who asked for something, and waits for an answer. */
export interface Visitor {
  readonly request: IncomingMessage;
  /** Aborted when nobody waits any more. */
  gone(): AbortSignal;
  refuse(refusal: Refusal): void;
  /** Resolves when the other side has answered and all of it was passed on, or could not be reached: then nothing was lost. */
  carry(way: Way): Promise<ExchangeEnd>;
}

/** A request. */
export class HttpVisitor implements Visitor {
  #gone: AbortController | undefined;

  constructor(
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    private readonly expectsContinue: boolean,
    private readonly under: Set<Exchange>,
  ) {}

  gone(): AbortSignal {
    if (this.#gone === undefined) {
      const gone = new AbortController();
      this.#gone = gone;
      this.response.once('close', () => gone.abort());
      if (this.response.destroyed) gone.abort();
    }
    return this.#gone.signal;
  }

  refuse(refusal: Refusal): void {
    if (!this.response.destroyed) refuse(this.request, this.response, refusal);
  }

  carry(way: Way): Promise<ExchangeEnd> {
    const { under } = this;
    const exchange = new Exchange(this.request, this.response, way, this.expectsContinue, () => under.delete(exchange));
    under.add(exchange);
    return exchange.ended;
  }
}

/** The handshake of a WebSocket. */
export class UpgradeVisitor implements Visitor {
  readonly #gone = new AbortController();

  constructor(
    readonly request: IncomingMessage,
    private readonly socket: Socket,
    private readonly head: Buffer,
  ) {
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#gone.abort());
  }

  gone(): AbortSignal {
    return this.#gone.signal;
  }

  refuse(refusal: Refusal): void {
    if (!this.socket.destroyed) refuseRaw(this.socket, refusal);
  }

  carry(way: Way): Promise<ExchangeEnd> {
    return tunnel({ ...way, request: this.request, socket: this.socket, head: this.head });
  }
}
