import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';

/**
 * - `pass`: hand on
 * - `error`: answer 500
 * - `hang`: never answer
 * - `reset`: break the connection
 * - `denied`: answer 403, as for expired credentials
 * - `lost-answer`: hand on, then break the connection instead of answering
 * - `cut`: hand on, but break the connection in the middle of the answer's body
 */
export type Fault = 'pass' | 'error' | 'hang' | 'reset' | 'denied' | 'lost-answer' | 'cut';

/** An HTTP proxy in front of an S3 server that misbehaves on demand. */
export class FaultProxy {
  fault: Fault = 'pass';
  /** If set, only requests that it matches have the fault. */
  only: ((request: IncomingMessage) => boolean) | undefined;
  /** The fault ends after so many requests that had it. */
  times = Number.POSITIVE_INFINITY;
  faulted = 0;
  readonly requests: string[] = [];
  private server: Server | undefined;
  private port = 0;

  constructor(private readonly target: string) {}

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const server = createServer((incoming, outgoing) => this.handle(incoming, outgoing));
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
  }

  private handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.requests.push(`${incoming.method} ${incoming.url}`);
    const hit = this.fault !== 'pass' && this.faulted < this.times && (this.only?.(incoming) ?? true);
    if (hit) this.faulted++;
    const fault = hit ? this.fault : 'pass';
    if (fault === 'error' || fault === 'denied') {
      incoming.resume();
      incoming.on('end', () => answerError(outgoing, fault === 'error' ? 500 : 403));
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
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        if (fault === 'cut') cutBody(answer, outgoing);
        else answer.pipe(outgoing);
      },
    );
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  }
}

function answerError(outgoing: ServerResponse, status: number): void {
  const code = status === 500 ? 'InternalError' : 'ExpiredToken';
  outgoing.writeHead(status, { 'content-type': 'application/xml' });
  outgoing.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>as the test asked for</Message></Error>`);
}

/** Sends half of a body, then breaks the connection. */
function cutBody(answer: IncomingMessage, outgoing: ServerResponse): void {
  const chunks: Buffer[] = [];
  answer.on('data', (chunk: Buffer) => chunks.push(chunk));
  answer.on('end', () => {
    const body = Buffer.concat(chunks);
    outgoing.write(body.subarray(0, Math.floor(body.length / 2)), () => outgoing.destroy());
  });
}
