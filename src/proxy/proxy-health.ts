import type { NodeFacts } from './link-messages.js';

/** What `GET /.sluice/health` answers: 200 for `ok`, else 503. For load balancers, without any name or address of the inside. */
export interface ProxyHealth {
  readonly status: 'ok' | 'unfit';
  readonly reason?: string;
  readonly role?: 'primary' | 'replica';
  readonly lagMs?: number | null;
}

/** By the node's own rule (src/http/health.ts), and whether there is one, and whether the proxy goes on. */
export function proxyHealth(facts: NodeFacts | undefined, isLinked: boolean, isStopping: boolean): ProxyHealth {
  const reason = isStopping ? 'stopping' : facts === undefined ? 'starting' : isLinked ? facts.unfit : 'no node';
  const more = facts === undefined ? {} : { role: facts.role, lagMs: facts.lagMs };
  return reason === null ? { status: 'ok', ...more } : { status: 'unfit', reason, ...more };
}
