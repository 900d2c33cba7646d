import { isUnfit, type NodeState } from '../status.js';

/** What GET /health answers: 200 for `ok`, else 503 with the reason. */
export interface Health {
  readonly status: 'ok' | 'unfit';
  readonly reason?: string;
}

/** Whether the node is fit to serve applications. `undefined` is a node that has not started yet. */
export function healthOf(status: NodeState | undefined, lagLimitMs: number): Health {
  const reason = status === undefined ? 'starting' : unfitReason(status, lagLimitMs);
  return reason === undefined ? { status: 'ok' } : { status: 'unfit', reason };
}

function unfitReason(status: NodeState, lagLimitMs: number): string | undefined {
  if (!status.ready) return status.role === 'replica' ? 'catching up with the primary' : 'starting';
  const problem = status.problems.find(isUnfit);
  if (problem !== undefined) return `${problem.subject}: ${problem.message}`;
  if (status.role === 'primary') return undefined;
  const lagMs = lagOf(status);
  if (lagMs === null) return status.upstream?.connected === true ? undefined : 'no contact with the primary';
  return lagMs > lagLimitMs ? `lag of ${Math.round(lagMs)} ms is over the limit of ${lagLimitMs} ms` : undefined;
}

/** The greatest lag of a replica; null while unknown. */
export function lagOf(status: NodeState): number | null {
  let lagMs = status.upstream?.lagMs ?? null;
  for (const db of status.databases) {
    if (db.lagMs !== null && (lagMs === null || db.lagMs > lagMs)) lagMs = db.lagMs;
  }
  return lagMs;
}
