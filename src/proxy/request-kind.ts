import type { ProxyConfig } from '../config/index.js';
import { PathPatterns, pathOf } from './path-pattern.js';

/**
 * - `passthrough`: to the application here, whatever it is
 * - `read`: to the application here, once it has what the client wrote
 * - `write`: to the primary
 */
export type RequestKind = 'passthrough' | 'read' | 'write';

const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Methods that may be sent again when it is not known whether they came through (RFC 9110, 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/** Tells what kind of request something is by its method and its path. */
export class RequestKinds {
  readonly #passthrough: PathPatterns;
  readonly #alwaysForward: PathPatterns;

  constructor(config: Pick<ProxyConfig, 'passthrough' | 'alwaysForward'>) {
    this.#passthrough = new PathPatterns(config.passthrough);
    this.#alwaysForward = new PathPatterns(config.alwaysForward);
  }

  of(method: string, target: string): RequestKind {
    const own = READS.has(method) ? 'read' : 'write';
    if (this.#passthrough.isEmpty && this.#alwaysForward.isEmpty) return own;
    const path = pathOf(target);
    if (this.#passthrough.matches(path)) return 'passthrough';
    return this.#alwaysForward.matches(path) ? 'write' : own;
  }
}
