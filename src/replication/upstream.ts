import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { describeError, errorCode } from '../errors.js';
import { monotonicMs } from '../monotonic.js';
import { authorization } from './auth.js';
import { MAX_MESSAGE_BYTES } from './limits.js';
import { decodeMessage, encodeMessage, type Message } from './messages.js';
import { badMessage } from './shape.js';
import { SilenceWatch } from './silence-watch.js';

/** Refusals that stay until a person changes something. */
const LASTING: ReadonlySet<string> = new Set([
  'REPLICATION_VERSION',
  'SAME_NODE',
  'NODE_ID_TWICE',
  'TOO_MANY_DATABASES',
]);

/** What a ping carries: when it was sent. */
const PING_BYTES = 8;

export interface UpstreamOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly connectMs: number;
  readonly silenceMs: number;
  readonly heartbeatMs: number;
}

/** Why a connection ended. `refused`: it will be the same until a person changes something. */
export interface UpstreamError {
  readonly message: string;
  readonly refused: boolean;
  /** The code that the primary refused with. */
  readonly code?: string;
}

/** One connection to a primary, from the attempt to its end. */
export class Upstream {
  /** Resolves, never rejects, when it is over; undefined if it was closed here. */
  readonly closed: Promise<UpstreamError | undefined>;
  onOpen: () => void = () => {};
  /** May throw: the connection ends then, with that error. */
  onMessage: (message: Message, sizeBytes: number) => void = () => {};
  /** `answeredMs` is another. */
  onAnswered: () => void = () => {};
  readonly url: string;
  /** Monotonic milliseconds at which the last ping was sent that the primary answered; 0: none. */
  answeredMs = 0;
  private readonly ws: WebSocket;
  private error: UpstreamError | undefined;
  private timer: NodeJS.Timeout | undefined;
  private helloTimer: NodeJS.Timeout | undefined;
  private silence: SilenceWatch | undefined;
  private isClosing = false;

  constructor(private readonly options: UpstreamOptions) {
    this.url = options.url;
    this.ws = new WebSocket(options.url, {
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      handshakeTimeout: options.connectMs,
      headers:
        options.token === undefined || options.token === '' ? {} : { authorization: authorization(options.token) },
    });
    const { ws } = this;
    ws.on('upgrade', (response) => this.onUpgrade(response.socket));
    ws.on('unexpected-response', (request, response) => {
      this.fail(responseError(options.url, response));
      request.destroy();
    });
    ws.on('open', () => this.onOpen());
    ws.on('message', (data, isBinary) => {
      if (isBinary && Buffer.isBuffer(data)) this.onData(data);
      else this.fail(badMessage('not binary'));
    });
    ws.on('pong', (sent: Buffer) => {
      if (sent.length !== PING_BYTES) return;
      this.answeredMs = sent.readDoubleBE();
      this.onAnswered();
    });
    ws.on('error', (error) => this.fail(error));
    this.closed = new Promise((done) => {
      ws.on('close', () => {
        clearInterval(this.timer);
        clearTimeout(this.helloTimer);
        done(this.isClosing ? undefined : this.error);
      });
    });
  }

  private onUpgrade(socket: Socket): void {
    const { heartbeatMs, silenceMs, connectMs } = this.options;
    this.silence = new SilenceWatch(socket, heartbeatMs, silenceMs);
    this.timer = setInterval(() => this.beat(), heartbeatMs);
    this.helloTimer = setTimeout(() => this.fail(new Error('the primary did not answer the hello')), connectMs);
  }

  /** A sign of life for the primary, also while what it sent is still under way; and a look at whether it lives. */
  private beat(): void {
    if (this.ws.readyState !== WebSocket.OPEN) return;
    const sent = Buffer.allocUnsafe(PING_BYTES);
    sent.writeDoubleBE(monotonicMs());
    this.ws.ping(sent);
    if (!this.ws.isPaused && this.silence?.isSilent() === true) this.fail(new Error('the primary is silent'));
  }

  private onData(data: Buffer): void {
    if (this.error !== undefined) return;
    try {
      const message = decodeMessage(data);
      if (message.type === 'refuse') {
        const { code, text } = message;
        this.error = { message: `the primary refused: ${text}`, refused: LASTING.has(code), code };
        this.ws.close();
        return;
      }
      clearTimeout(this.helloTimer);
      this.onMessage(message, data.length);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Ends the connection; the first error is the one that is told. */
  private fail(error: unknown): void {
    const refused = isUpstreamError(error) ? error.refused : errorCode(error) === 'REPLICATION_VERSION';
    this.error ??= { message: isUpstreamError(error) ? error.message : describe(error, this.url), refused };
    this.ws.terminate();
  }

  send(message: Message): void {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(encodeMessage(message));
  }

  /** Sent, and not yet taken by the system. */
  get queuedBytes(): number {
    return this.ws.bufferedAmount;
  }

  /** Stops or goes on reading the socket. */
  setPaused(paused: boolean): void {
    if (paused === this.ws.isPaused) return;
    if (paused) this.ws.pause();
    else this.ws.resume();
  }

  close(): void {
    this.isClosing = true;
    this.ws.terminate();
  }
}

function isUpstreamError(error: unknown): error is UpstreamError {
  return typeof error === 'object' && error !== null && 'refused' in error && !(error instanceof Error);
}

function describe(error: unknown, url: string): string {
  // With several addresses for a name the error is an AggregateError, whose own text is empty.
  const code = errorCode(error);
  const text = describeError(error);
  return text === '' ? `cannot connect to ${url}: ${code ?? 'failed'}` : text;
}

/** What an HTTP answer instead of a WebSocket means. */
function responseError(url: string, { statusCode = 0 }: IncomingMessage): UpstreamError {
  if (statusCode === 401) {
    const message = `${url} refused the token. Set replication.token to the same value as on the primary`;
    return { message, refused: true };
  }
  if (statusCode === 503) {
    return { message: `${url} takes no replica now: it is stopping, or has too many`, refused: false };
  }
  const message = `${url} does not answer as a Sluice primary: HTTP ${statusCode}. Check lease.primary`;
  return { message, refused: statusCode < 500 };
}
