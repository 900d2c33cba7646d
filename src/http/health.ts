import { isUnfit, type NodeState } from '../status.js';

/** What the rule looks at. */
export interface Fitness extends Pick<NodeState, 'ready' | 'role' | 'problems' | 'upstream'> {
  readonly databases: readonly { readonly lagMs: number | null }[];
}

/** What GET /health answers: 200 for `ok`, else 503 with the reason. */
export interface Health {
  readonly status: 'ok' | 'unfit';
  readonly reason?: string;
}

/** Whether the node is fit to serve applications. `undefined` is a node that has not started yet. */
export function healthOf(status: Fitness | undefined, lagLimitMs: number): Health {
  const reason = status === undefined ? 'starting' : unfitReason(status, lagLimitMs);
  return reason === undefined ? { status: 'ok' } : { status: 'unfit', reason };
}

/** The same for strangers: without a database's name, or what an error says. Null for a node that is fit. */
export function publicReason(status: Fitness, lagLimitMs: number): string | null {
  const problem = status.ready ? status.problems.find(isUnfit) : undefined;
  return problem === undefined ? (unfitReason(status, lagLimitMs) ?? null) : 'a database is damaged, or cannot go on';
}

function unfitReason(status: Fitness, lagLimitMs: number): string | undefined {
  if (!status.ready) return status.role === 'replica' ? 'catching up with the primary' : 'starting';
  const problem = status.problems.find(isUnfit);
  if (problem !== undefined) return `${problem.subject}: ${problem.message}`;
  if (status.role === 'primary') return undefined;
  const lagMs = lagOf(status);
  if (lagMs === null) return status.upstream?.connected === true ? undefined : 'no contact with the primary';
  return lagMs > lagLimitMs ? `lag of ${Math.round(lagMs)} ms is over the limit of ${lagLimitMs} ms` : undefined;
}

/** The greatest lag of a replica; null while unknown. */
export function lagOf(status: Pick<Fitness, 'upstream' | 'databases'>): number | null {
  let lagMs = status.upstream?.lagMs ?? null;
  for (const db of status.databases) {
    if (db.lagMs !== null && (lagMs === null || db.lagMs > lagMs)) lagMs = db.lagMs;
  }
  return lagMs;
}
