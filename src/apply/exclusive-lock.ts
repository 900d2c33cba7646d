import type { DatabaseClient } from './client.js';
import {
  FIRST_HOLD_PAUSE_MS,
  FIRST_RETRY_MS,
  HOLD_EVERY_MS,
  HOLD_MS,
  LAST_HOLD_PAUSE_MS,
  LAST_RETRY_MS,
} from './limits.js';
import type { Turn } from './turn.js';

/**
 * Gets SQLite's EXCLUSIVE lock without standing in the way of other databases: tries that do not wait, on a timer, and
 * now and then a short one that keeps new readers out, so that readers who come one after the other cannot keep the
 * lock from us for ever. One for the whole process, since while such a try waits nothing else moves.
 */
export class ExclusiveLock {
  private nextHoldMs = 0;

  constructor(private readonly nowMs: () => number) {}

  /** Returns with the lock held; end it with `client.end()`. */
  async take(client: DatabaseClient, turn: Turn): Promise<void> {
    let pauseMs = FIRST_RETRY_MS;
    let holdPauseMs = FIRST_HOLD_PAUSE_MS;
    let ownHoldMs = this.nowMs() + holdPauseMs;
    while (!client.tryBeginExclusive(0)) {
      await turn.wait(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS);
      const nowMs = this.nowMs();
      if (nowMs < ownHoldMs || nowMs < this.nextHoldMs) continue;
      if (client.tryBeginExclusive(HOLD_MS)) return;
      holdPauseMs = Math.min(holdPauseMs * 2, LAST_HOLD_PAUSE_MS);
      ownHoldMs = this.nowMs() + holdPauseMs;
      this.nextHoldMs = this.nowMs() + HOLD_EVERY_MS;
    }
  }
}
