import { describeError } from '../errors.js';
import { type DatabaseClient, ROLLBACK_VERSION } from './client.js';
import { CHECKPOINT_FRAMES, FIRST_UPKEEP_MS, LAST_UPKEEP_MS } from './limits.js';
import type { Shared } from './operations.js';
import { type WalProgress, walFrames } from './wal-apply.js';

/**
 * What a WAL database needs now and then, between transactions and never in their way: a checkpoint when its WAL has
 * grown, and the way out of WAL mode when page 1 says that the primary has left it. Readers may hold up either, so
 * both are tried again, rarer and rarer.
 *
 * Until that way is free the database goes on in WAL mode with a page 1 that says otherwise. SQLite does not mind: a
 * connection that finds a -wal beside the file uses it, whatever page 1 says.
 */
export class Upkeep {
  /** The checkpoints on the other thread, one after the other. */
  private background: Promise<unknown> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private pauseMs = FIRST_UPKEEP_MS;
  private triedAtFrames = 0;
  /** Byte 18 of page 1 as the database has it now; 0 if not known. */
  private version = 0;

  constructor(
    private readonly name: string,
    private readonly shared: Shared,
    /** Asks for a call of `run` when the connection is free. */
    private readonly request: () => void,
  ) {}

  /** After a transaction was added to the WAL. */
  applied(progress: WalProgress): void {
    const leaves = progress.version === ROLLBACK_VERSION && this.version !== ROLLBACK_VERSION;
    if (progress.version !== 0) this.version = progress.version;
    if (progress.frames < this.triedAtFrames) this.triedAtFrames = 0;
    if (leaves || progress.frames - this.triedAtFrames > CHECKPOINT_FRAMES) this.request();
  }

  /** Tries what is due. Nothing else may use the connection meanwhile. */
  run(client: DatabaseClient): void {
    if (client.mode !== 'wal' || this.background !== undefined) return;
    if (this.version === ROLLBACK_VERSION && client.tryLeaveWal()) {
      this.forget();
      this.shared.log('info', this.name, 'out of WAL mode, as on the primary');
      return;
    }
    this.triedAtFrames = walFrames(client).total;
    this.checkpoint(client, 'truncate').catch((error: unknown) => {
      this.shared.log('warn', this.name, `checkpoint: ${describeError(error)}`);
    });
  }

  /** Checkpoints; resolves with the frames that are left. */
  async checkpoint(client: DatabaseClient, mode: 'passive' | 'truncate'): Promise<number> {
    const { checkpointer } = this.shared;
    if (checkpointer === undefined) {
      client.checkpoint(mode);
      return this.settle(client);
    }
    const before = this.background ?? Promise.resolve();
    const work = before.then(() => checkpointer.run(client.path, mode));
    // What others wait for never rejects.
    const done = work.then(() => this.settle(client)).catch(() => undefined);
    this.background = done;
    try {
      await work;
      return (await done) ?? 0;
    } finally {
      if (this.background === done) this.background = undefined;
    }
  }

  /** Returns when no checkpoint runs; none will until the next transaction. For who needs the database for itself. */
  async rest(): Promise<void> {
    await this.background;
    this.forget();
  }

  /** The file is another, or in another mode: what was known of it does not count. */
  private forget(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pauseMs = FIRST_UPKEEP_MS;
    this.triedAtFrames = 0;
    this.version = 0;
  }

  /** After a checkpoint: whether there is to be another try. Returns the frames left. */
  private settle(client: DatabaseClient): number {
    const { total, left } = walFrames(client);
    if (left === 0) this.version = client.fileVersion();
    clearTimeout(this.timer);
    if (this.version === ROLLBACK_VERSION || total > CHECKPOINT_FRAMES) {
      this.timer = setTimeout(this.request, this.pauseMs);
      this.pauseMs = Math.min(this.pauseMs * 2, LAST_UPKEEP_MS);
    } else {
      this.pauseMs = FIRST_UPKEEP_MS;
      this.triedAtFrames = 0;
    }
    return left;
  }
}
