import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { errorCode } from '../errors.js';
import { linger, noAnswer, type Refusal, refuse, slowClient } from './answers.js';
import { type Pairs, responseHeaders, trailersOf } from './header-rules.js';
import { CONTINUE_LIMIT_MS } from './limits.js';
import { isIdempotent } from './request-kind.js';
import type { Way } from './way.js';

/** `unreached`: the other side saw nothing of the request, and its body is still whole. `over`: the client has its answer, or is gone. */
export type ExchangeEnd = 'over' | 'unreached';

/**
 * `connecting`; then `sending` the request, `waiting` for the head of the answer, `receiving` its body, `over`.
 */
type Phase = 'connecting' | 'sending' | 'waiting' | 'receiving' | 'over';

/** One request on its way to another server, and the answer on its way back, both as streams. */
export class Exchange {
  readonly ended: Promise<ExchangeEnd>;
  #resolve!: (end: ExchangeEnd) => void;
  #phase: Phase = 'connecting';
  #upstream: ClientRequest;
  #answer: IncomingMessage | undefined;
  #isRepeated = false;
  #connected = false;
  /** When something moved last. */
  #movedMs = performance.now();
  #bodyBegun = false;
  #continueTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
    private readonly leg: Way,
    /** The client waits for a word before it sends the body. */
    private readonly expectsContinue: boolean,
    private readonly onEnd: () => void,
  ) {
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#upstream = this.#send(false);
    response.on('close', this.#closed);
  }

  /** Ends what goes on for too long; called now and then. */
  sweep(nowMs: number): void {
    const silentMs = nowMs - this.#movedMs;
    const { responseMs, idleMs } = this.leg;
    if (this.#phase === 'sending' && silentMs > idleMs) {
      // Who is slow: the client that does not send, or the other side that does not take it?
      this.#fail(this.#upstream.writableNeedDrain ? noAnswer : slowClient);
    } else if (this.#phase === 'waiting' && silentMs > responseMs) this.#fail(noAnswer);
    else if (this.#phase === 'receiving' && silentMs > idleMs && this.response.writableNeedDrain)
      this.response.destroy();
  }

  #send(isFresh: boolean): ClientRequest {
    const { upstream, target, headers, hasBody } = this.leg;
    this.#connected = false;
    const request = upstream.request({ method: this.request.method ?? 'GET', target, headers, isFresh }, () =>
      this.#onConnected(request),
    );
    request.on('response', (answer) => void this.#answered(answer));
    request.on('error', (error) => this.#failed(request, error));
    if (!hasBody) request.end();
    else if (this.expectsContinue) request.on('continue', () => this.#goOn());
    return request;
  }

  #onConnected(request: ClientRequest): void {
    this.#connected = true;
    this.#movedMs = performance.now();
    if (this.#phase !== 'connecting') return;
    if (!this.leg.hasBody) {
      this.#phase = 'waiting';
      return;
    }
    this.#phase = 'sending';
    if (!this.expectsContinue) {
      this.#sendBody();
      return;
    }
    request.flushHeaders();
    this.#continueTimer = setTimeout(() => this.#goOn(), CONTINUE_LIMIT_MS);
  }

  /** The other side wants the body, or says nothing to being asked. */
  #goOn(): void {
    clearTimeout(this.#continueTimer);
    if (this.#bodyBegun || this.#phase !== 'sending') return;
    this.response.writeContinue();
    this.#sendBody();
  }

  #sendBody(): void {
    const { request } = this;
    const upstream = this.#upstream;
    this.#bodyBegun = true;
    request.on('data', this.#moved);
    request.once('end', () => {
      const trailers = trailersOf(request);
      if (trailers.length > 0 && request.headers['transfer-encoding'] !== undefined) upstream.addTrailers(trailers);
      upstream.end();
      this.#movedMs = performance.now();
      if (this.#phase === 'sending') this.#phase = 'waiting';
    });
    request.pipe(upstream, { end: false });
  }

  readonly #moved = (): void => {
    this.#movedMs = performance.now();
  };

  async #answered(answer: IncomingMessage): Promise<void> {
    if (this.#phase === 'over') {
      answer.destroy();
      return;
    }
    clearTimeout(this.#continueTimer);
    this.#answer = answer;
    this.#phase = 'receiving';
    // Without a listener its error would be nobody's.
    answer.on('error', () => this.#broken());
    answer.on('aborted', () => this.#broken());
    const { beforeHead, internal } = this.leg;
    try {
      const added = beforeHead === undefined ? undefined : await beforeHead();
      // It may have been lost meanwhile.
      if (this.#isOver()) return;
      const headers = responseHeaders(answer, internal);
      if (added !== undefined) headers.push(...added);
      this.#pass(answer, headers);
    } catch {
      // A status or a header that nobody may send.
      this.#fail(this.leg.lost);
    }
  }

  #pass(answer: IncomingMessage, headers: Pairs): void {
    const { response } = this;
    this.#movedMs = performance.now();
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, headers);
    let isEmpty = true;
    answer.on('data', () => {
      isEmpty = false;
      this.#movedMs = performance.now();
    });
    answer.once('end', () => {
      const trailers = trailersOf(answer);
      if (trailers.length > 0 && answer.headers['transfer-encoding'] !== undefined) response.addTrailers(trailers);
      response.end();
    });
    response.on('drain', this.#moved);
    answer.pipe(response, { end: false });
    // Mostly there is some body with the head, and both are one packet; an event stream's head has to go by itself.
    setImmediate(() => {
      if (isEmpty && !response.writableEnded && !response.destroyed) response.flushHeaders();
    });
  }

  /** The answer was cut short: so is ours, for the client to see. */
  #broken(): void {
    if (this.#answer?.complete === true || this.response.writableEnded) return;
    if (!this.response.headersSent) this.#fail(this.leg.lost);
    else this.response.destroy();
  }

  #failed(request: ClientRequest, error: Error): void {
    if (this.#phase === 'over' || request !== this.#upstream) return;
    // It does not want the rest of the request; its answer is what counts.
    if (this.#answer !== undefined) {
      this.request.unpipe(request);
      return;
    }
    if (!this.#connected) {
      this.#over();
      this.#end('unreached');
      return;
    }
    if (this.#mayRepeat(request, error)) {
      this.#isRepeated = true;
      this.#phase = 'connecting';
      this.#upstream = this.#send(true);
      return;
    }
    this.#fail(this.leg.lost);
  }

  /** A kept connection that the other side closed as the request was on its way: once more, if that can do no harm. */
  #mayRepeat(request: ClientRequest, error: Error): boolean {
    if (!request.reusedSocket || this.#isRepeated || this.leg.hasBody) return false;
    const code = errorCode(error);
    return (code === 'ECONNRESET' || code === 'EPIPE') && isIdempotent(this.request.method ?? '');
  }

  /** An answer of our own in the place of the other side's, whose end is of no interest any more. */
  #fail(refusal: Refusal): void {
    if (this.#phase === 'over') return;
    this.#over();
    this.leg.refused(refusal);
    refuse(this.request, this.response, refusal);
    this.#upstream.destroy();
    this.#end('over');
  }

  /** The client has all of it, or is gone. */
  readonly #closed = (): void => {
    if (this.#phase === 'over') return;
    this.#over();
    // An answer before the end of its request: the rest is nobody's.
    const isWhole = this.response.writableFinished && this.#answer?.complete === true && this.#upstream.writableEnded;
    if (!isWhole) this.#upstream.destroy();
    if (this.response.writableFinished) linger(this.request);
    this.#end('over');
  };

  #isOver(): boolean {
    return this.#phase === 'over' || this.response.destroyed;
  }

  #over(): void {
    this.#phase = 'over';
    clearTimeout(this.#continueTimer);
    this.response.off('close', this.#closed);
  }

  #end(end: ExchangeEnd): void {
    this.onEnd();
    this.#resolve(end);
  }
}
