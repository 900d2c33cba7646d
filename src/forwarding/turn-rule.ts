import type { HaltLimits } from './limits.js';

/** What is to happen with a replica's turn, and when it is to be looked at again. */
export type TurnStep =
  | { readonly kind: 'go on'; readonly inMs: number }
  | { readonly kind: 'ask back'; readonly how: 'now' | 'with next'; readonly inMs: number }
  | { readonly kind: 'take back'; readonly why: 'silent' | 'too long' };

/** A turn as it stands. Times are of one clock. */
export interface TurnFacts {
  /** When the lock was granted. */
  readonly sinceMs: number;
  /** The replica's last word. */
  readonly heardMs: number;
  /** It is held for the lock by hand, and kept between transactions. */
  readonly isByHand: boolean;
  /** Another replica waits. */
  readonly isAwaited: boolean;
  /** It was asked to give the lock back: after the transaction under way, or with the one that follows. */
  readonly asked: 'no' | 'with next' | 'now';
}

export function holdLimitMs(limits: HaltLimits, isByHand: boolean): number {
  return isByHand ? limits.holdByHandMs : limits.holdMs;
}

/**
 * How long a replica keeps the primary's write lock. The primary's own writers wait in the kernel, where nobody sees them,
 * so they are always taken to be there: a turn has an end.
 */
export function turnStep(facts: TurnFacts, limits: HaltLimits, nowMs: number): TurnStep {
  const { sinceMs, heardMs, isByHand, isAwaited, asked } = facts;
  const silentInMs = heardMs + limits.silenceMs - nowMs;
  if (silentInMs <= 0) return { kind: 'take back', why: 'silent' };
  const overInMs = sinceMs + holdLimitMs(limits, isByHand) - nowMs;
  if (overInMs <= 0) return { kind: 'take back', why: 'too long' };
  const endInMs = sinceMs + limits.turnMs - nowMs;
  const inMs = Math.min(silentInMs, overInMs);
  if (asked === 'now' || isByHand) return { kind: 'go on', inMs };
  if (isAwaited) return { kind: 'ask back', how: 'now', inMs };
  if (asked === 'with next') return { kind: 'go on', inMs };
  if (endInMs <= 0) return { kind: 'ask back', how: 'with next', inMs };
  return { kind: 'go on', inMs: Math.min(inMs, endInMs) };
}
