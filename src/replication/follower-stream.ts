import type { DatabaseSet } from '../database/types.js';
import type { Position } from '../ltx/index.js';
import { DatabaseFlow } from './follower-state.js';
import type { ServerLimits } from './limits.js';
import type { Outgoing } from './outgoing.js';
import type { ReplicationLog, ServerHooks, WriteServer } from './types.js';

/** What a follower shares with the others of its server. */
export interface FollowerContext {
  readonly databases: DatabaseSet;
  readonly limits: ServerLimits;
  readonly log: ReplicationLog;
  readonly hooks: ServerHooks;
  readonly writes: WriteServer | undefined;
  /** Snapshots being read now, of all followers. */
  readonly slots: { used: number };
  /** A slot is free again. */
  slotFreed(): void;
  now(): number;
}

/** One database on its way to one replica: what is decided (the flow), and what is being done about it. */
export interface Stream {
  readonly flow: DatabaseFlow;
  outgoing: Outgoing | null;
  /** `large-begin` was sent. */
  begun: boolean;
  /** To be answered with `restart` before anything else. */
  restart: number | null;
  /** Given up because the replica did not take it: starts again when it has acknowledged what it got. */
  parked: boolean;
  failures: number;
  retry: NodeJS.Timeout | null;
  /** Where a transaction leads that the replica made itself. */
  expected: Position | null;
  /** It is logged, and not durable; or durable, and not logged: the replica is told when it is both. */
  half: 'logged' | 'durable' | null;
}

export function newStream(name: string): Stream {
  return {
    flow: new DatabaseFlow(name),
    outgoing: null,
    begun: false,
    restart: null,
    parked: false,
    failures: 0,
    retry: null,
    expected: null,
    half: null,
  };
}

/** Forgets what was to be done next. What is being sent is not touched. */
export function forgetPlans(stream: Stream): void {
  if (stream.retry !== null) clearTimeout(stream.retry);
  stream.retry = null;
  stream.restart = null;
  stream.parked = false;
}
