import type { IncomingMessage } from 'node:http';
import type { ProxyConfig } from '../config/index.js';
import type { Txid } from '../ltx/index.js';
import { type Bookmark, cookieValue, decodeBookmark, encodeBookmark, mergeBookmarks } from './bookmark.js';
import type { Pairs } from './header-rules.js';
import type { NodeView } from './node-view.js';

/** Reads bookmarks from requests, and gives clients new ones: as a cookie and as a header. */
export class Bookmarks {
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
    return text === undefined ? undefined : decodeBookmark(text, this.key, this.now(), cookie.maxAgeMs);
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
