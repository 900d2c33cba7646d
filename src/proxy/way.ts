import type { Refusal } from './answers.js';
import type { Pairs } from './header-rules.js';
import type { Upstream } from './upstream.js';

/** How one request goes on. */
export interface Way {
  readonly upstream: Upstream;
  readonly target: string;
  readonly headers: readonly string[];
  readonly hasBody: boolean;
  /** A response header that only proxies may set; undefined where the other side is one. */
  readonly internal: string | undefined;
  readonly responseMs: number;
  readonly idleMs: number;
  readonly beforeHead: (() => Promise<Pairs>) | undefined;
  readonly lost: Refusal;
  /** An answer of the proxy's own is given on the way. */
  readonly refused: (refusal: Refusal) => void;
}
