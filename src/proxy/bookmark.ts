import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Txid } from '../ltx/index.js';
import { MAX_BOOKMARK_CHARS, MAX_BOOKMARKED } from './limits.js';

/** What a client has seen or written, and wants to see again. */
export interface Bookmark {
  /** The primary's run in which the positions are; 16 hex digits. */
  readonly lineage: string;
  /** Null: it is not known where they are, only the primary is sure to have it all. */
  readonly positions: ReadonlyMap<string, Txid> | null;
}

const VERSION = '1';
const ANY = '*';
const MAC_BYTES = 16;
const SHAPE = /^([A-Za-z0-9_-]{1,4096})\.([A-Za-z0-9_-]{22})$/;
const MAX_TXID_CHARS = 11;

/**
 * `payload.mac`, both base64url; safe in a cookie and in a header. The payload: lines `1 <lineage> <seconds, base 36>`, then
 * `<txid, base 36> <name>` for each database, or `*`. The mac: 128 bits of HMAC-SHA256. Where that would be too long it says
 * `*`: reads then go to the primary.
 */
export function encodeBookmark(bookmark: Bookmark, key: Buffer, nowMs: number): string {
  const head = `${VERSION} ${bookmark.lineage} ${Math.floor(nowMs / 1000).toString(36)}`;
  const { positions } = bookmark;
  if (positions !== null && positions.size <= MAX_BOOKMARKED) {
    const lines = Array.from(positions, ([name, txid]) => `${txid.toString(36)} ${encodeURIComponent(name)}`);
    const text = sign([head, ...lines].join('\n'), key);
    if (text.length <= MAX_BOOKMARK_CHARS) return text;
  }
  return sign(`${head}\n${ANY}`, key);
}

/** Undefined for what no proxy of this cluster has signed, or for longer ago than `maxAgeMs`. */
export function decodeBookmark(text: string, key: Buffer, nowMs: number, maxAgeMs: number): Bookmark | undefined {
  const match = SHAPE.exec(text);
  if (match === null) return undefined;
  const payload = Buffer.from(match[1]!, 'base64url');
  if (!timingSafeEqual(macOf(payload, key), Buffer.from(match[2]!, 'base64url'))) return undefined;
  // Signed: what follows is what some version of Sluice wrote.
  const [head = '', ...lines] = payload.toString('latin1').split('\n');
  const [version, lineage, seconds] = head.split(' ');
  if (version !== VERSION || lineage === undefined || seconds === undefined) return undefined;
  const ageMs = nowMs - Number.parseInt(seconds, 36) * 1000;
  // A clock that is ahead elsewhere makes it younger than it can be: that is as good as new.
  if (!(ageMs <= maxAgeMs)) return undefined;
  if (lines[0] === ANY) return { lineage, positions: null };
  const positions = new Map<string, Txid>();
  for (const line of lines) {
    const space = line.indexOf(' ');
    const txid = Number.parseInt(line.slice(0, Math.min(space, MAX_TXID_CHARS)), 36);
    positions.set(decodeURIComponent(line.slice(space + 1)), txid);
  }
  return { lineage, positions };
}

function sign(payload: string, key: Buffer): string {
  const bytes = Buffer.from(payload, 'latin1');
  return `${bytes.toString('base64url')}.${macOf(bytes, key).toString('base64url')}`;
}

function macOf(payload: Buffer, key: Buffer): Buffer {
  return createHmac('sha256', key).update(payload).digest().subarray(0, MAC_BYTES);
}

/**
 * What a client knows after a write in `lineage`: what it knew, and the positions that the write led to (null: not known).
 * `txidOf`: where the primary is now; what is beyond that is of a history that it does not have.
 */
export function mergeBookmarks(
  before: Bookmark | undefined,
  lineage: string,
  written: ReadonlyMap<string, Txid> | null,
  txidOf: (name: string) => Txid | undefined,
): Bookmark {
  if (written === null || before?.positions === null) return { lineage, positions: null };
  const positions = new Map<string, Txid>();
  for (const [name, txid] of before?.positions ?? []) {
    if (txid <= (txidOf(name) ?? 0)) positions.set(name, txid);
  }
  for (const [name, txid] of written) {
    positions.delete(name);
    positions.set(name, txid);
  }
  return { lineage, positions };
}

/** The value of a cookie in a `Cookie` header. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  if (header === undefined || !header.includes(name)) return undefined;
  for (const part of header.split(';')) {
    const pair = part.trim();
    if (pair.startsWith(name) && pair[name.length] === '=')
      return pair.slice(name.length + 1).replace(/^"(.*)"$/, '$1');
  }
  return undefined;
}

/** A `Cookie` header without one cookie; undefined if nothing is left. */
export function withoutCookie(header: string, name: string): string | undefined {
  if (!header.includes(name)) return header;
  const rest = header.split(';').filter((part) => !part.trim().startsWith(`${name}=`));
  const text = rest.join(';').trim();
  return text === '' ? undefined : text;
}
