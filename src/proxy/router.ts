import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxyConfig } from '../config/index.js';
import { monotonicMs } from '../monotonic.js';
import { badRequest, lostPrimary, noPrimary, noTarget, notPrimary, type Refusal, tooLate } from './answers.js';
import type { Bookmark } from './bookmark.js';
import { Bookmarks } from './bookmarks.js';
import { flyReplayOf } from './fly-replay.js';
import { isMark, MARK_HEADER, makeMark } from './forward-mark.js';
import { flawOf, hasBody, type Origin, originOf, type Pairs, requestHeaders, statedOrigin } from './header-rules.js';
import type { ProxyKeys } from './keys.js';
import { PRIMARY_IDLE_MS, RECONNECT_MS, TARGET_IDLE_MS } from './limits.js';
import type { NodeView } from './node-view.js';
import type { ProxyCounts } from './proxy-counts.js';
import { RequestKinds } from './request-kind.js';
import { Upstream } from './upstream.js';
import type { Visitor } from './visitor.js';
import { type Verdict, verdictOf } from './wait-rule.js';
import type { Waits } from './waits.js';
import type { Way } from './way.js';

export interface RouterOptions {
  readonly config: ProxyConfig;
  readonly keys: ProxyKeys;
  readonly view: NodeView;
  readonly waits: Waits;
  readonly counts: ProxyCounts;
  /** Resolves with whether the view has all that was committed before the call. */
  readonly settle: (limitMs: number) => Promise<boolean>;
}

/** Where each request goes, and what it waits for before it does. */
export class Router {
  readonly #kinds: RequestKinds;
  readonly #bookmarks: Bookmarks;
  readonly #target: Upstream;
  /** The primary's proxy that was used last. */
  #primary: Upstream | undefined;

  constructor(private readonly options: RouterOptions) {
    const { config, keys } = options;
    this.#kinds = new RequestKinds(config);
    this.#bookmarks = new Bookmarks(config, keys.bookmark);
    this.#target = new Upstream(config.target, TARGET_IDLE_MS, config.connectMs);
  }

  close(): void {
    this.#target.close();
    this.#primary?.close();
  }

  /** Resolves when the visitor has an answer, or is gone. */
  async serve(visitor: Visitor): Promise<void> {
    const { request } = visitor;
    const flaw = flawOf(request);
    if (flaw !== undefined) {
      this.options.counts.refused++;
      visitor.refuse(badRequest(flaw.status, flaw.text));
      return;
    }
    const kind = this.#kinds.of(request.method ?? '', request.url ?? '/');
    if (kind === 'write') return this.#write(visitor);
    const bookmark = kind === 'read' && this.options.view.role === 'replica' ? this.#bookmarks.of(request) : undefined;
    return bookmark === undefined ? this.#local(visitor) : this.#read(visitor, bookmark);
  }

  /** A read of a client that wants to see what it wrote. */
  async #read(visitor: Visitor, bookmark: Bookmark): Promise<void> {
    const { config, view, waits, counts } = this.options;
    const arrivedMs = monotonicMs();
    let verdict = 'wait' as Verdict;
    const isDecided = () => {
      verdict = view.linked ? verdictOf(bookmark, view, arrivedMs) : 'wait';
      return verdict !== 'wait';
    };
    if (!isDecided()) {
      counts.waited++;
      const end = await waits.until(isDecided, config.waitMs, visitor.gone());
      if (end === 'gone') return;
      if (end === 'late') {
        counts.late++;
        if (config.afterWait === '504') return this.#refuse(visitor, tooLate);
        verdict = 'primary';
      }
    }
    if (verdict === 'go' || view.role === 'primary') return this.#local(visitor);
    return isForwarded(visitor.request) ? this.#refuse(visitor, tooLate) : this.#forward(visitor, 0);
  }

  async #write(visitor: Visitor): Promise<void> {
    const { config, view, waits, counts } = this.options;
    const { headers } = visitor.request;
    if (view.facts === undefined) {
      const end = await waits.until(() => view.facts !== undefined, config.primaryWaitMs, visitor.gone());
      if (end === 'gone') return;
      if (end === 'late') return this.#refuse(visitor, noPrimary);
    }
    if (view.role === 'primary') return this.#localWrite(visitor);
    // Whoever says so without a mark of ours only harms himself; a loop ends here even where nodes share no token.
    if (isForwarded(visitor.request)) return this.#refuse(visitor, notPrimary);
    const replay = flyReplayOf(config.flyReplay, this.#primaryAddress(), headers['fly-replay-src'] !== undefined);
    if (replay === undefined) return this.#forward(visitor, config.primaryWaitMs);
    counts.replayed++;
    visitor.refuse({ status: 409, code: 'PROXY_REPLAY', text: 'for the primary', headers: { 'fly-replay': replay } });
  }

  async #local(visitor: Visitor): Promise<void> {
    this.options.counts.local++;
    if ((await visitor.carry(this.#wayToTarget(visitor.request, undefined))) === 'unreached') {
      this.#refuse(visitor, noTarget);
    }
  }

  /** A write on the primary: its answer says what it led to. */
  async #localWrite(visitor: Visitor): Promise<void> {
    const { config, view, counts, settle } = this.options;
    const { request } = visitor;
    counts.local++;
    const { serial } = view;
    const beforeHead = async () => {
      const isComplete = await settle(config.settleMs);
      if (!isComplete) counts.unsettled++;
      return this.#bookmarks.after(this.#bookmarks.of(request), view, serial, isComplete);
    };
    if ((await visitor.carry(this.#wayToTarget(request, beforeHead))) === 'unreached') this.#refuse(visitor, noTarget);
  }

  /** To the primary's proxy; one that cannot be reached is tried again for so long. */
  async #forward(visitor: Visitor, waitMs: number): Promise<void> {
    const { view, waits, counts } = this.options;
    const deadlineMs = performance.now() + waitMs;
    counts.forwarded++;
    for (;;) {
      const leftMs = deadlineMs - performance.now();
      const address = this.#primaryAddress();
      if (view.role === 'primary') return this.#localWrite(visitor);
      if (address !== null) {
        if ((await visitor.carry(this.#wayToPrimary(visitor.request, address))) === 'over') return;
      }
      if (deadlineMs - performance.now() <= 0) return this.#refuse(visitor, noPrimary);
      if (address !== null) await sleep(RECONNECT_MS);
      else await waits.until(() => this.#primaryAddress() !== null || view.role === 'primary', leftMs, visitor.gone());
      if (visitor.gone().aborted) return;
    }
  }

  #primaryAddress(): string | null {
    return this.options.config.primary ?? this.options.view.facts?.primary ?? null;
  }

  #wayToTarget(request: IncomingMessage, beforeHead: (() => Promise<Pairs>) | undefined): Way {
    const { config } = this.options;
    return this.#way(request, this.#target, undefined, config.header, beforeHead);
  }

  #wayToPrimary(request: IncomingMessage, address: string): Way {
    const { config } = this.options;
    if (this.#primary?.origin !== address) {
      // What is under way by the old one goes on.
      this.#primary = new Upstream(address, Math.min(PRIMARY_IDLE_MS, config.idleMs / 2), config.connectMs);
    }
    return this.#way(request, this.#primary, this.options.keys.mark, undefined, undefined);
  }

  #way(
    request: IncomingMessage,
    upstream: Upstream,
    markKey: Buffer | undefined,
    internal: string | undefined,
    beforeHead: (() => Promise<Pairs>) | undefined,
  ): Way {
    const { config } = this.options;
    const target = targetOf(request);
    const trust = this.#trustIn(request);
    const origin = originOf(request, trust);
    const method = request.method ?? '';
    return {
      upstream,
      target,
      headers: requestHeaders(request, {
        origin,
        keepsOrigin: trust !== 'none',
        mark: markKey === undefined ? undefined : makeMark({ method, target, ...origin }, markKey, Date.now()),
        cookieName: config.cookie.name,
        positionHeader: config.header,
      }),
      hasBody: hasBody(request),
      internal,
      responseMs: config.responseMs,
      idleMs: config.idleMs,
      beforeHead,
      lost: markKey === undefined ? noTarget : lostPrimary,
      refused: this.#count,
    };
  }

  /** Whose word on where a request came from counts. */
  #trustIn(request: IncomingMessage): 'none' | 'balancer' | 'peer' {
    const { config, keys } = this.options;
    const mark = request.headers[MARK_HEADER];
    if (typeof mark === 'string') {
      const stated: Origin = statedOrigin(request);
      const marked = { method: request.method ?? '', target: request.url ?? '', ...stated };
      if (isMark(mark, marked, keys.mark, Date.now())) return 'peer';
    }
    return config.trustForwarded ? 'balancer' : 'none';
  }

  #refuse(visitor: Visitor, refusal: Refusal): void {
    this.#count(refusal);
    visitor.refuse(refusal);
  }

  readonly #count = ({ status }: Refusal): void => {
    const { counts } = this.options;
    if (status === 503) counts.unavailable++;
    else if (status === 502) counts.badGateway++;
    else counts.timedOut++;
  };
}

function isForwarded(request: IncomingMessage): boolean {
  return request.headers[MARK_HEADER] !== undefined;
}

/** As it is asked for of a server: the path and the query. */
function targetOf({ url = '/' }: IncomingMessage): string {
  if (url.startsWith('/') || url === '*') return url;
  if (!URL.canParse(url)) return '/';
  const { pathname, search } = new URL(url);
  return pathname + search;
}
