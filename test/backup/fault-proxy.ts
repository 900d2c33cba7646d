import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RequestRecord } from './request-count.js';

/** An answer that the server did not give. */
export interface FaultAnswer {
  readonly status: number;
  readonly code: string;
  readonly message?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of an error's. */
  readonly body?: string;
}

/**
 * - `pass`: hand on
 * - `error`: answer 500
 * - `slow-down`: answer 503 SlowDown
 * - `denied`: answer 403, as for expired credentials
 * - an answer, or a function that takes the server's place
 * - `hang`: never answer
 * - `reset`: break the connection
 * - `lost-answer`: hand on, then break the connection instead of answering
 * - `cut`: hand on, but break the connection in the middle of the answer's body
 * - `stalled`: hand on, but send nothing more from the middle of the answer's body on
 * - `slow`: hand on, the answer's body in small pieces with pauses
 * - `truncated`: hand on, but say that half of the body is all of it
 * - `stale-list`: listings lack what was written since `set`
 */
export type Fault =
  | 'pass'
  | 'error'
  | 'slow-down'
  | 'denied'
  | FaultAnswer
  | ((request: IncomingMessage) => Promise<FaultAnswer>)
  | 'hang'
  | 'reset'
  | 'lost-answer'
  | 'cut'
  | 'stalled'
  | 'slow'
  | 'truncated'
  | 'stale-list';

const ANSWERS: Readonly<Record<string, FaultAnswer>> = {
  error: { status: 500, code: 'InternalError' },
  'slow-down': { status: 503, code: 'SlowDown' },
  denied: { status: 403, code: 'ExpiredToken' },
};

const SLOW_PIECES = 16;
const SLOW_PAUSE_MS = 20;

/** An HTTP proxy in front of an S3 server that counts requests, and misbehaves on demand. */
export class FaultProxy {
  fault: Fault = 'pass';
  /** If set, only requests that it matches have the fault. */
  only: ((request: IncomingMessage) => boolean) | undefined;
  /** The fault ends after so many requests that had it. */
  times = Number.POSITIVE_INFINITY;
  faulted = 0;
  /** All that came, in order; may be emptied. */
  readonly records: RequestRecord[] = [];
  /** Paths of objects that were written since `set`. */
  private readonly written = new Set<string>();
  private server: Server | undefined;
  private port = 0;

  /** With `tls`, it speaks HTTPS with its clients. */
  constructor(
    readonly target: string,
    private readonly tls?: { readonly key: string; readonly cert: string },
  ) {}

  get endpoint(): string {
    return `${this.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`;
  }

  /** `GET /bucket/key` and so on. */
  get requests(): string[] {
    return this.records.map(({ method, url }) => `${method} ${url}`);
  }

  /** All since the last time. */
  takeRequests(): string[] {
    const { requests } = this;
    this.records.length = 0;
    return requests;
  }

  async start(): Promise<void> {
    const handle: RequestListener = (incoming, outgoing) => this.handle(incoming, outgoing);
    const server = this.tls === undefined ? createServer(handle) : createTlsServer(this.tls, handle);
    this.server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  async stop(): Promise<void> {
    const server = this.server;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  set(fault: Fault, times = Number.POSITIVE_INFINITY, only?: (request: IncomingMessage) => boolean): void {
    Object.assign(this, { fault, times, only, faulted: 0 });
    this.written.clear();
  }

  private handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { method = '', url = '', headers } = incoming;
    const record: RequestRecord = { method, url, headers, status: undefined };
    this.records.push(record);
    outgoing.on('finish', () => {
      record.status = outgoing.statusCode;
    });
    if (method === 'PUT' || method === 'POST') this.written.add(decodeURIComponent(url.split('?')[0]!));
    const hit = this.fault !== 'pass' && this.faulted < this.times && (this.only?.(incoming) ?? true);
    if (hit) this.faulted++;
    const fault = hit ? this.fault : 'pass';
    const answer = typeof fault === 'string' ? ANSWERS[fault] : fault;
    if (typeof answer === 'function') {
      answer(incoming).then(
        (given) => answerError(outgoing, given),
        () => outgoing.destroy(),
      );
    } else if (answer !== undefined) {
      incoming.resume();
      incoming.on('end', () => answerError(outgoing, answer));
    } else if (fault === 'hang') incoming.resume();
    else if (fault === 'reset') incoming.socket.destroy();
    else this.forward(incoming, outgoing, fault);
  }

  private forward(incoming: IncomingMessage, outgoing: ServerResponse, fault: Fault): void {
    const { method, url, headers } = incoming;
    const onward = request(
      this.target + (url ?? ''),
      { ...(method !== undefined && { method }), headers },
      (answer) => {
        if (fault === 'lost-answer') {
          answer.resume();
          answer.on('end', () => incoming.socket.destroy());
        } else if (fault === 'pass') {
          outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(outgoing);
        } else {
          this.spoil(answer, outgoing, fault).catch(() => outgoing.destroy());
        }
      },
    );
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  }

  private async spoil(answer: IncomingMessage, outgoing: ServerResponse, fault: Fault): Promise<void> {
    const { statusCode = 502, headers } = answer;
    const body = await readBody(answer);
    const half = body.subarray(0, Math.floor(body.length / 2));
    if (fault === 'truncated' || fault === 'stale-list') {
      const other = fault === 'truncated' ? half : this.withoutWritten(body);
      const { 'transfer-encoding': _, ...rest } = headers;
      outgoing.writeHead(statusCode, { ...rest, 'content-length': String(other.length) });
      outgoing.end(other);
      return;
    }
    outgoing.writeHead(statusCode, headers);
    if (fault === 'cut') outgoing.write(half, () => outgoing.destroy());
    else if (fault === 'stalled') outgoing.write(half);
    else await writeSlowly(outgoing, body);
  }

  /** A listing without what it did not know yet. */
  private withoutWritten(body: Buffer): Buffer {
    const text = body.toString('utf8');
    const bucket = /<Name>([^<]*)<\/Name>/.exec(text)?.[1] ?? '';
    return Buffer.from(
      text.replace(/<Contents>.*?<\/Contents>/gs, (entry) => {
        const key = /<Key>([^<]*)<\/Key>/.exec(entry)?.[1] ?? '';
        return this.written.has(`/${bucket}/${key}`) ? '' : entry;
      }),
    );
  }
}

function answerError(outgoing: ServerResponse, answer: FaultAnswer): void {
  const { status, code, message = 'as the test asked for', headers, body } = answer;
  outgoing.writeHead(status, { 'content-type': 'application/xml', ...headers });
  const error = `<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  outgoing.end(body ?? `<?xml version="1.0"?>${error}`);
}

export async function readBody(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function writeSlowly(outgoing: ServerResponse, body: Buffer): Promise<void> {
  const size = Math.max(1, Math.ceil(body.length / SLOW_PIECES));
  for (let at = 0; at < body.length && !outgoing.destroyed; at += size) {
    outgoing.write(body.subarray(at, at + size));
    await sleep(SLOW_PAUSE_MS);
  }
  outgoing.end();
}
