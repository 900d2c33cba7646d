import type { IncomingMessage } from 'node:http';
import type { ProxyConfig } from '../config/index.js';
import type { Txid } from '../ltx/index.js';
import { type Bookmark, cookieValue, decodeBookmark, encodeBookmark, mergeBookmarks } from './bookmark.js';
import type { Pairs } from './header-rules.js';
import { MAX_READ_BOOKMARKS, READ_BOOKMARK_MS } from './limits.js';
import type { NodeView } from './node-view.js';

/** Reads bookmarks from requests, and gives clients new ones: as a cookie and as a header. */
export class Bookmarks {
  readonly #read = new Map<string, { readonly bookmark: Bookmark; readonly readMs: number }>();

  constructor(
    private readonly config: Pick<ProxyConfig, 'cookie' | 'header'>,
    private readonly key: Buffer,
    private readonly now: () => number = Date.now,
  ) {}

  /** The header goes before the cookie. Undefined if there is none that counts. */
  of({ headers }: IncomingMessage): Bookmark | undefined {
    const { cookie, header } = this.config;
    const given = headers[header];
    const text = typeof given === 'string' ? given : cookieValue(headers.cookie, cookie.name);
    if (text === undefined) return undefined;
    const nowMs = this.now();
    const read = this.#read.get(text);
    if (read !== undefined && Math.abs(nowMs - read.readMs) < READ_BOOKMARK_MS) return read.bookmark;
    const bookmark = decodeBookmark(text, this.key, nowMs, cookie.maxAgeMs);
    if (bookmark === undefined) return undefined;
    if (this.#read.size >= MAX_READ_BOOKMARKS) this.#read.clear();
    this.#read.set(text, { bookmark, readMs: nowMs });
    return bookmark;
  }

  /**
   * The headers of an answer to a write that began when the view had the serial. `isComplete`: the view has all that it led to;
   * else the client reads at the primary for a while. None if nothing moved.
   */
  after(before: Bookmark | undefined, view: NodeView, serial: number, isComplete: boolean): Pairs {
    const { lineage } = view;
    if (lineage === null) return [];
    const moved = isComplete ? view.movedSince(serial) : null;
    if (moved?.size === 0) return [];
    return this.#headers(next(before, view, lineage, moved));
  }

  #headers(bookmark: Bookmark): Pairs {
    const { cookie, header } = this.config;
    const text = encodeBookmark(bookmark, this.key, this.now());
    const maxAgeS = Math.floor(cookie.maxAgeMs / 1000);
    const secure = cookie.secure ? '; Secure' : '';
    const value = `${cookie.name}=${text}; Path=/; Max-Age=${maxAgeS}; HttpOnly; SameSite=Lax${secure}`;
    return ['Set-Cookie', value, header, text];
  }
}

function next(
  before: Bookmark | undefined,
  view: NodeView,
  lineage: string,
  moved: ReadonlyMap<string, Txid> | null,
): Bookmark {
  // What was not known after an earlier write is in where all databases are now.
  if (before?.positions === null && moved !== null) return { lineage, positions: view.movedSince(-1) };
  return mergeBookmarks(before, lineage, moved, (name) => view.txid(name));
}
