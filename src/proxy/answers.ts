import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { LINGER_MS, RETRY_AFTER_S } from './limits.js';

/** An answer of the proxy's own. */
export interface Refusal {
  readonly status: number;
  /** Stable, e.g. `PROXY_NO_PRIMARY`. */
  readonly code: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const RETRY = { 'retry-after': String(RETRY_AFTER_S) };

export const noPrimary: Refusal = {
  status: 503,
  code: 'PROXY_NO_PRIMARY',
  text: 'the primary cannot be reached',
  headers: RETRY,
};
export const notPrimary: Refusal = {
  status: 503,
  code: 'PROXY_NOT_PRIMARY',
  text: 'this node is not the primary, to which the request was forwarded',
  headers: RETRY,
};
export const tooLate: Refusal = {
  status: 504,
  code: 'PROXY_BEHIND',
  text: 'this replica does not have what the client wrote before',
  headers: RETRY,
};
export const noTarget: Refusal = { status: 502, code: 'PROXY_TARGET', text: 'the application does not answer' };
export const lostPrimary: Refusal = {
  status: 502,
  code: 'PROXY_PRIMARY_LOST',
  text: 'the primary was lost before it answered: whether the request came through is not known',
};
export const noAnswer: Refusal = { status: 504, code: 'PROXY_TIMEOUT', text: 'no answer in time' };
export const slowClient: Refusal = {
  status: 408,
  code: 'PROXY_CLIENT_SLOW',
  text: 'the body of the request did not come',
};

export function badRequest(status: number, text: string): Refusal {
  return { status, code: 'PROXY_BAD_REQUEST', text, headers: { connection: 'close' } };
}

/** Answers, where nothing was answered yet; what there is left of the request's body is read for a while, and dropped. */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { status, code, text, headers } = refusal;
  json(request, response, status, { error: text, code }, headers);
}

export function json(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  value: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
  linger(request);
}

/** Reads and drops the rest of a body that nobody wants, for a while: a client that still sends would not see the answer else. */
export function linger(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.unpipe();
  request.resume();
  const { socket } = request;
  const timer = setTimeout(() => {
    if (!request.complete) socket.destroy();
  }, LINGER_MS);
  timer.unref();
  request.once('close', () => clearTimeout(timer));
}

/** The same for a connection that was to become something else than HTTP. */
export function refuseRaw(socket: Duplex, { status, code, text, headers = {} }: Refusal): void {
  const body = `${JSON.stringify({ error: text, code })}\n`;
  const more = Object.entries({ ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${more.join('')}\r\n${body}`,
  );
}
