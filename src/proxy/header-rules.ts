import type { IncomingMessage } from 'node:http';
import { withoutCookie } from './bookmark.js';
import { MARK_HEADER } from './forward-mark.js';

/** Between two neighbours only (RFC 9110, 7.6.1); `TE` and `Trailer` are looked at by themselves. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Where a request came from, as proxies tell it; set by whoever is trusted, by nobody else. */
const ORIGIN = /^(?:x-forwarded-.*|forwarded|x-real-ip|x-client-ip|true-client-ip)$/;

/** Nothing of these may stand behind a body (RFC 9110, 6.5.1). */
const NOT_TRAILERS =
  /^(?:content-.*|host|authorization|cookie|set-cookie|trailer|expect|cache-control|max-forwards|range|age|date|expires|location|vary|warning)$/;

export type Pairs = string[];

/** Programs that make variables of headers take `_` for `-`, so both are the same here. */
function nameOf(header: string): string {
  const name = header.toLowerCase();
  return name.includes('_') ? name.replaceAll('_', '-') : name;
}

/** Names that a `Connection` header makes hop-by-hop. */
function named(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || /^(?:keep-alive|close|upgrade)$/i.test(connection)) return undefined;
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()));
}

/** Why a request is refused that the parser let through: status and text; undefined if it is not. */
export function flawOf(request: IncomingMessage): { readonly status: number; readonly text: string } | undefined {
  const { rawHeaders, headers } = request;
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === 'host') hosts++;
  }
  if (hosts > 1) return { status: 400, text: 'more than one Host header' };
  const encoding = headers['transfer-encoding'];
  if (encoding === undefined) return undefined;
  if (headers['content-length'] !== undefined) {
    return { status: 400, text: 'both Content-Length and Transfer-Encoding' };
  }
  return encoding.toLowerCase() === 'chunked' ? undefined : { status: 501, text: 'only Transfer-Encoding: chunked' };
}

export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/** What is told of a request's origin, as it goes on. */
export interface Origin {
  readonly forwardedFor: string;
  readonly forwardedProto: string;
  readonly forwardedHost: string;
}

/**
 * Of a client that is not trusted what the connection says; of one that is (a load balancer) what it says, with its own address
 * after it; of another proxy of the cluster what that says.
 */
export function originOf(request: IncomingMessage, trust: 'none' | 'balancer' | 'peer'): Origin {
  const { headers, socket } = request;
  const address = (socket.remoteAddress ?? 'unknown').replace(/^::ffff:/, '');
  const host = headers.host ?? '';
  if (trust === 'none') return { forwardedFor: address, forwardedProto: 'http', forwardedHost: host };
  const told = statedOrigin(request);
  const before = told.forwardedFor;
  return {
    forwardedFor: trust === 'peer' ? before : before === '' ? address : `${before}, ${address}`,
    forwardedProto: told.forwardedProto === '' ? 'http' : told.forwardedProto,
    forwardedHost: told.forwardedHost === '' ? host : told.forwardedHost,
  };
}

/** What the request says of its origin, whoever it is from. */
export function statedOrigin({ headers }: IncomingMessage): Origin {
  return {
    forwardedFor: textOf(headers['x-forwarded-for']),
    forwardedProto: textOf(headers['x-forwarded-proto']),
    forwardedHost: textOf(headers['x-forwarded-host']),
  };
}

function textOf(value: string | readonly string[] | undefined): string {
  return value === undefined ? '' : typeof value === 'string' ? value : value.join(', ');
}

export interface OutgoingRules {
  readonly origin: Origin;
  /** Other origin headers of the client stay: `Forwarded`, `X-Real-IP`. */
  readonly keepsOrigin: boolean;
  /** To another proxy of the cluster: what this one knows of the client goes along. */
  readonly mark: string | undefined;
  readonly cookieName: string;
  readonly positionHeader: string;
}

/** The headers of a request as they go on, in their order and spelling. */
export function requestHeaders(request: IncomingMessage, rules: OutgoingRules): Pairs {
  const { rawHeaders, headers } = request;
  const { origin, mark, positionHeader } = rules;
  const hops = named(headers.connection);
  const out: Pairs = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i]!;
    const name = nameOf(header);
    if (HOP_BY_HOP.has(name) || hops?.has(name) || name === MARK_HEADER) continue;
    let value = rawHeaders[i + 1]!;
    if (name.startsWith('x-') || name === 'forwarded' || name.startsWith('true-')) {
      if (/^x-forwarded-(?:for|proto|host)$/.test(name) || (!rules.keepsOrigin && ORIGIN.test(name))) continue;
    }
    if (mark === undefined) {
      if (name === positionHeader) continue;
      if (name === 'cookie') {
        const rest = withoutCookie(value, rules.cookieName);
        if (rest === undefined) continue;
        value = rest;
      }
    }
    out.push(header, value);
  }
  // HTTP/1.0 clients may leave it out, HTTP/1.1 servers want one.
  if (headers.host === undefined) out.push('Host', 'localhost');
  if (/(?:^|,)\s*trailers\s*(?:,|$)/i.test(String(headers.te ?? ''))) out.push('TE', 'trailers');
  out.push('X-Forwarded-For', origin.forwardedFor, 'X-Forwarded-Proto', origin.forwardedProto);
  out.push('X-Forwarded-Host', origin.forwardedHost);
  if (mark !== undefined) out.push(MARK_HEADER, mark);
  if (headers['transfer-encoding'] !== undefined) out.push('Transfer-Encoding', 'chunked');
  else if (headers['content-length'] === undefined && /^(?:POST|PUT|PATCH)$/.test(request.method ?? '')) {
    out.push('Content-Length', '0');
  }
  return out;
}

/** The headers of an answer as they go on. `internal`: a name that only proxies may set. */
export function responseHeaders(answer: IncomingMessage, internal: string | undefined): Pairs {
  const { rawHeaders, headers } = answer;
  const hops = named(headers.connection);
  const out: Pairs = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (HOP_BY_HOP.has(name) || hops?.has(name) || name === internal) continue;
    out.push(rawHeaders[i]!, rawHeaders[i + 1]!);
  }
  return out;
}

/** Trailers as they go on. */
export function trailersOf(message: IncomingMessage): [string, string][] {
  const { rawTrailers } = message;
  const out: [string, string][] = [];
  for (let i = 0; i < rawTrailers.length; i += 2) {
    const name = nameOf(rawTrailers[i]!);
    if (HOP_BY_HOP.has(name) || ORIGIN.test(name) || NOT_TRAILERS.test(name) || name === MARK_HEADER) continue;
    out.push([rawTrailers[i]!, rawTrailers[i + 1]!]);
  }
  return out;
}
