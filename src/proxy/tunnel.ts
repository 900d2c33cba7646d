import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { noAnswer, refuseRaw } from './answers.js';
import type { ExchangeEnd } from './exchange.js';
import { responseHeaders } from './header-rules.js';
import { TCP_KEEPALIVE_MS } from './limits.js';
import type { Way } from './way.js';

export interface TunnelOptions extends Way {
  readonly socket: Socket;
  /** What the client sent behind its request. */
  readonly head: Buffer;
  readonly request: IncomingMessage;
}

/** Whether a request asks for the one kind of upgrade that passes. Others, like h2c, would bring requests past the proxy. */
export function isWebSocket({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && /^websocket$/i.test(headers.upgrade ?? '') && headers['sec-websocket-key'] !== undefined;
}

/** Passes a WebSocket on: its handshake as HTTP, then bytes in both directions. Resolves when it is over. */
export function tunnel(options: TunnelOptions): Promise<ExchangeEnd> {
  const { socket, head, upstream, target, responseMs, lost } = options;
  return new Promise((resolve) => {
    let isConnected = false;
    let isAnswered = false;
    const headers = [...options.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket'];
    const leg = upstream.request({ method: 'GET', target, headers, isFresh: true }, () => {
      isConnected = true;
    });
    const timer = setTimeout(() => {
      isAnswered = true;
      options.refused(noAnswer);
      refuseRaw(socket, noAnswer);
      leg.destroy();
    }, responseMs);
    const over = () => {
      clearTimeout(timer);
      leg.destroy();
      resolve('over');
    };
    socket.once('close', over);
    leg.once('error', () => {
      clearTimeout(timer);
      if (isAnswered || socket.destroyed) return;
      if (isConnected) {
        options.refused(lost);
        refuseRaw(socket, lost);
      } else {
        socket.off('close', over);
        resolve('unreached');
      }
    });
    leg.once('upgrade', (answer, far, farHead) => {
      isAnswered = true;
      clearTimeout(timer);
      writeHead(
        socket,
        answer,
        ['Connection', 'Upgrade', 'Upgrade', String(answer.headers.upgrade ?? 'websocket')],
        options.internal,
      );
      socket.write(farHead);
      far.write(head);
      join(socket, far as Socket);
    });
    // It does not want to: what it says instead is passed on, to its end.
    leg.once('response', (answer) => {
      isAnswered = true;
      clearTimeout(timer);
      writeHead(socket, answer, ['Connection', 'close'], options.internal);
      answer.on('error', () => socket.destroy());
      answer.pipe(socket);
    });
    leg.end();
  });
}

function join(near: Socket, far: Socket): void {
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const) {
    one.setTimeout(0);
    one.setNoDelay(true);
    one.setKeepAlive(true, TCP_KEEPALIVE_MS);
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroySoon());
    one.pipe(other as Duplex);
  }
}

function writeHead(
  socket: Socket,
  answer: IncomingMessage,
  more: readonly string[],
  internal: string | undefined,
): void {
  const pairs = [...responseHeaders(answer, internal), ...more];
  // The body stands there as it is, to the end of the connection.
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage ?? STATUS_CODES[answer.statusCode ?? 0]}`];
  for (let i = 0; i < pairs.length; i += 2) lines.push(`${pairs[i]}: ${pairs[i + 1]}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
