import { describeError } from '../errors.js';
import type { DatabaseHeader } from '../sqlite/index.js';
import { ROLLBACK_FORMAT, WAL_FORMAT } from '../sqlite/index.js';
import { checkpoint } from './checkpoint.js';
import type { DatabaseClient } from './client.js';
import { CHECKPOINT_FRAMES, FIRST_UPKEEP_MS, LAST_UPKEEP_MS } from './limits.js';
import type { Shared } from './operations.js';
import { type WalProgress, walFrames } from './wal-apply.js';

/**
 * What a WAL database needs now and then, between transactions and never in their way: a checkpoint when its WAL has
 * grown, and the way out of WAL mode when page 1 says that the primary has left it. Readers may hold up either, so
 * both are tried again, rarer and rarer.
 *
 * Until that way is free the database goes on in WAL mode with a page 1 that says otherwise. SQLite does not mind: a
 * connection that finds a -wal beside the file uses it, whatever page 1 says, unless it is empty. So it never is then.
 */
export class Upkeep {
  /** The checkpoints on the other thread, one after the other. */
  private background: Promise<unknown> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private pauseMs = FIRST_UPKEEP_MS;
  private triedAtFrames = 0;
  /** As the database has it now; undefined if not known. */
  private pageOne: DatabaseHeader | undefined;

  constructor(
    private readonly name: string,
    private readonly shared: Shared,
    /** Asks for a call of `run` when the connection is free. */
    private readonly request: () => void,
  ) {}

  /** The database was opened in WAL mode, or has gone over to it. */
  begin(client: DatabaseClient): void {
    if (client.mode !== 'wal') return;
    if (walFrames(client).left === 0) this.pageOne = client.header();
    else this.request();
  }

  /** After a transaction was added to the WAL. */
  applied(client: DatabaseClient, { frames, pageOne }: WalProgress): void {
    const could = this.mayLeave(client);
    if (pageOne !== undefined) this.pageOne = pageOne;
    if (frames < this.triedAtFrames) this.triedAtFrames = 0;
    const leaves = !could && this.mayLeave(client);
    if (leaves || frames - this.triedAtFrames > CHECKPOINT_FRAMES) this.request();
  }

  /** Tries what is due. Nothing else may use the connection meanwhile. */
  run(client: DatabaseClient): void {
    if (client.mode !== 'wal' || this.background !== undefined) return;
    const leaves = this.mayLeave(client);
    if (leaves && client.tryLeaveWal()) {
      this.forget();
      this.shared.log('debug', this.name, 'out of WAL mode, as on the primary');
      return;
    }
    const { total } = walFrames(client);
    if (leaves && total - this.triedAtFrames <= CHECKPOINT_FRAMES) {
      this.tryLater();
      return;
    }
    this.triedAtFrames = total;
    this.checkpoint(client, 'truncate').catch((error: unknown) => {
      this.shared.log('warn', this.name, `checkpoint: ${describeError(error)}`);
    });
  }

  /** Whether its WAL must not be removed now. */
  mustStay(client: DatabaseClient): boolean {
    return client.mode === 'wal' && !this.isWalDatabase() && !this.mayLeave(client);
  }

  /** Checkpoints; resolves with the frames that are left. `truncate` only restarts a WAL that page 1 does not speak of. */
  async checkpoint(client: DatabaseClient, mode: 'passive' | 'truncate'): Promise<number> {
    const { checkpointer } = this.shared;
    const possible = mode === 'truncate' && !this.isWalDatabase() ? 'restart' : mode;
    if (checkpointer === undefined) {
      checkpoint(client.path, possible);
      return this.settle(client);
    }
    const before = this.background ?? Promise.resolve();
    const work = before.then(() => checkpointer.run(client.path, possible));
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

  /** Returns when no checkpoint runs; none will until the next operation. */
  async idle(): Promise<void> {
    await this.background;
  }

  /** The same for who needs the database for itself: nothing is tried by itself any more until `begin`. */
  async rest(): Promise<void> {
    await this.background;
    this.forget();
  }

  private isWalDatabase(): boolean {
    return this.pageOne?.writeVersion === WAL_FORMAT;
  }

  /**
   * Whether it may leave WAL mode: page 1 says so, and a connection that has slept since before WAL mode will notice
   * that its page cache is old.
   */
  private mayLeave(client: DatabaseClient): boolean {
    return this.pageOne?.writeVersion === ROLLBACK_FORMAT && client.isNewToReaders(this.pageOne);
  }

  /** The file is another, or in another mode: what was known of it does not count. */
  private forget(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pauseMs = FIRST_UPKEEP_MS;
    this.triedAtFrames = 0;
    this.pageOne = undefined;
  }

  private tryLater(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.request, this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LAST_UPKEEP_MS);
  }

  /** After a checkpoint: whether there is to be another try. Returns the frames left. */
  private settle(client: DatabaseClient): number {
    const { total, left } = walFrames(client);
    if (left === 0) this.pageOne = client.header();
    if (this.pageOne === undefined || this.mayLeave(client) || total > CHECKPOINT_FRAMES) {
      this.tryLater();
    } else {
      clearTimeout(this.timer);
      this.pauseMs = FIRST_UPKEEP_MS;
      this.triedAtFrames = 0;
    }
    return left;
  }
}
