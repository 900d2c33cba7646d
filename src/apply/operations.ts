import { fsync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorCode, SluiceError } from '../errors.js';
import type { WalIndexHeader } from '../sqlite/index.js';
import { WAL_FORMAT } from '../sqlite/index.js';
import type { Checkpointer } from './checkpointer.js';
import { DatabaseClient, isBusy } from './client.js';
import type { ExclusiveLock } from './exclusive-lock.js';
import { FIRST_RETRY_MS, HALT_RETRY_MS, LAST_RETRY_MS, LEAVE_WAL_MS } from './limits.js';
import type { LtxFile } from './ltx-file.js';
import { createBesideOthers, createDatabase, removeDatabase, removeLinks } from './new-file.js';
import { applyToRollback, commitToRollback } from './rollback-apply.js';
import type { Turn } from './turn.js';
import { Upkeep } from './upkeep.js';
import { appendToWal, applyToWal, readWalIndex } from './wal-apply.js';

const sync = promisify(fsync);

/** What all databases of the process share. */
export interface Shared {
  /** The mount point. */
  readonly mount: string;
  readonly turn: Turn;
  readonly exclusive: ExclusiveLock;
  /** Undefined: checkpoints run on the loop. */
  readonly checkpointer: Checkpointer | undefined;
  readonly nowMs: () => number;
  readonly log: (level: 'debug' | 'info' | 'warn', name: string, text: string) => void;
}

/** The operations on one database. One at a time; the caller sees to that. */
export class DatabaseOperations {
  private client: DatabaseClient | undefined;
  private readonly path: string;
  private readonly upkeep: Upkeep;
  private halted = false;
  private upkeepDue = false;

  constructor(
    readonly name: string,
    private readonly shared: Shared,
    private readonly requestUpkeep: () => void,
  ) {
    this.path = join(shared.mount, name);
    this.upkeep = new Upkeep(name, shared, requestUpkeep);
  }

  async open(): Promise<void> {
    await this.opened(false);
  }

  async apply(ltx: LtxFile): Promise<void> {
    if (ltx.isWhole) return this.replace(ltx);
    await this.write(await this.opened(false), ltx);
  }

  async replace(ltx: LtxFile): Promise<void> {
    removeLinks(this.shared.mount, this.name);
    const client = await this.openedForReplace();
    if (client !== undefined) {
      const pageSize = client.pageSize();
      if (client.mode === 'wal' && pageSize !== ltx.header.pageSize) await this.leaveWal(client);
      return this.write(client, ltx);
    }
    await createDatabase(this.path, ltx, this.shared.turn);
    try {
      await this.opened(true);
    } catch (error) {
      // It is malformed on the primary too, like half a copy: here it is what it is there.
      if (!isUnsound(error)) throw error;
      await this.close();
    }
  }

  async drop(): Promise<void> {
    await this.close();
    removeDatabase(this.shared.mount, this.name);
  }

  /**
   * After `open`. Resolves with the frames left in the WAL; if there is a thread for it, other operations may begin
   * before that.
   */
  async checkpoint(mode: 'passive' | 'truncate'): Promise<number> {
    return this.client?.mode === 'wal' ? this.upkeep.checkpoint(this.client, mode) : 0;
  }

  runUpkeep(): void {
    this.upkeepDue = this.halted;
    if (this.client !== undefined && !this.halted) this.upkeep.run(this.client);
  }

  get isOpen(): boolean {
    return this.client !== undefined;
  }

  /** Whether the write lock is kept. */
  get isHalted(): boolean {
    return this.halted;
  }

  /** Takes the write lock and keeps it, if it comes free in time. */
  async halt(limitMs: number): Promise<void> {
    if (this.halted) return;
    const client = await this.opened(false);
    const { turn, nowMs } = this.shared;
    const deadlineMs = nowMs() + limitMs;
    // Others ask again and again too, with growing pauses: who asks at short ones gets it in the gap between two of theirs.
    while (!client.tryBegin()) {
      if (nowMs() >= deadlineMs) return;
      await turn.wait(HALT_RETRY_MS);
    }
    if (client.isWal() === (client.mode === 'wal')) this.halted = true;
    else {
      // Somebody has brought it into WAL mode, or out of it.
      client.end();
      await this.waitFor(() => client.refreshMode());
      this.upkeep.begin(client);
      if (nowMs() < deadlineMs) return this.halt(deadlineMs - nowMs());
    }
  }

  /** While the lock is kept: one more transaction, durable when this resolves. */
  async commit(ltx: LtxFile): Promise<void> {
    const { client } = this;
    if (client === undefined || !this.halted) throw new SluiceError('APPLY_FAILED', `${this.name} is not halted`);
    try {
      if (client.mode === 'rollback') {
        await commitToRollback(client, ltx, this.shared);
        if (client.header()?.writeVersion !== WAL_FORMAT) return;
        // The next one comes by a WAL. Who comes in between is found by the position.
        await this.release();
        return await this.halt(LEAVE_WAL_MS);
      }
      const progress = await appendToWal(client, ltx, this.shared.turn, () => this.upkeep.idle());
      await sync(client.walFd);
      this.upkeep.applied(client, progress);
    } catch (error) {
      // What is half written is scratch, or undone by the next opener, once all locks are given back.
      if (errorCode(error) !== 'APPLY_BUSY') await this.close();
      throw error;
    }
  }

  /** A new database, of whose name there is nothing yet. */
  async create(ltx: LtxFile): Promise<void> {
    await this.close();
    removeLinks(this.shared.mount, this.name);
    await createBesideOthers(this.path, ltx, this.shared.turn);
  }

  async release(): Promise<void> {
    if (!this.halted) return;
    this.halted = false;
    try {
      this.client?.end();
    } finally {
      // The lock could not be given back: only closing the connection does.
      if (this.client?.inTransaction === true) await this.close();
    }
    if (this.upkeepDue) this.requestUpkeep();
  }

  /** After `open`. Of a database in WAL mode that nobody writes now. */
  walIndex(): WalIndexHeader | undefined {
    const { client } = this;
    if (client === undefined) return undefined;
    if (!client.inTransaction && client.isWal() !== (client.mode === 'wal')) client.refreshMode();
    return client.mode === 'wal' ? readWalIndex(client) : undefined;
  }

  /**
   * Closes it at the end of the process; false if it stays open, which it must where SQLite would remove a WAL that
   * connections in rollback mode still have to find.
   */
  async end(): Promise<boolean> {
    await this.upkeep.idle();
    if (this.client !== undefined && this.upkeep.mustStay(this.client)) return false;
    await this.close();
    return true;
  }

  private async close(): Promise<void> {
    this.halted = false;
    await this.upkeep.rest();
    const { client } = this;
    this.client = undefined;
    client?.close();
  }

  private async write(client: DatabaseClient, ltx: LtxFile): Promise<void> {
    try {
      await this.writeLocked(client, ltx);
    } finally {
      // The lock could not be given back: only closing the connection does.
      if (client.inTransaction) await this.close();
    }
  }

  private async writeLocked(client: DatabaseClient, ltx: LtxFile): Promise<void> {
    const { turn, exclusive } = this.shared;
    const applied = client.mode === 'rollback' && (await applyToRollback(client, ltx, exclusive, turn));
    // Page 1 may have brought WAL mode, or the transaction needs it.
    if (client.mode === 'rollback' && (!applied || client.header()?.writeVersion === WAL_FORMAT)) {
      await this.waitFor(() => client.refreshMode());
      this.upkeep.begin(client);
    }
    if (!applied) this.upkeep.applied(client, await applyToWal(client, ltx, turn, () => this.upkeep.idle()));
  }

  /** Tries it again and again while a lock is in the way. */
  private async waitFor(attempt: () => void): Promise<void> {
    for (let pauseMs = FIRST_RETRY_MS; ; pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS)) {
      try {
        return attempt();
      } catch (error) {
        if (!isBusy(error)) throw error;
      }
      await this.shared.turn.wait(pauseMs);
    }
  }

  /** The open database; opens it, or opens it again if the path now names another file. */
  private async opened(mayBeEmpty: boolean): Promise<DatabaseClient> {
    if (this.client?.isCurrent() === true) return this.client;
    await this.close();
    let client: DatabaseClient | undefined;
    await this.waitFor(() => {
      client = DatabaseClient.open(this.path, mayBeEmpty);
    });
    this.client = client!;
    this.upkeep.begin(this.client);
    return this.client;
  }

  /** Undefined if there is no file, or one that SQLite takes for no database or a malformed one: a new one takes its name. */
  private async openedForReplace(): Promise<DatabaseClient | undefined> {
    if (statSync(this.path, { throwIfNoEntry: false }) === undefined) {
      await this.close();
      return undefined;
    }
    try {
      const client = await this.opened(true);
      if (client.fileSize() === 0) await this.beginEmpty(client);
      return client;
    } catch (error) {
      if (!isUnsound(error)) throw error;
      await this.close();
      return undefined;
    }
  }

  /** Makes a file of 0 bytes a database of one page: SQLite's locks do nothing but that as long as it is none. */
  private async beginEmpty(client: DatabaseClient): Promise<void> {
    while (!client.tryBegin()) await this.shared.turn.wait(LAST_RETRY_MS);
    client.end();
  }

  /**
   * Another page size cannot come by way of the WAL. Waits until nobody else has the database open, but not for ever:
   * then it rejects with `APPLY_BUSY`, and the database stays as it is.
   */
  private async leaveWal(client: DatabaseClient): Promise<void> {
    const { turn, nowMs } = this.shared;
    await this.upkeep.rest();
    const deadlineMs = nowMs() + LEAVE_WAL_MS;
    for (let pauseMs = FIRST_RETRY_MS; !client.tryLeaveWal(); pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS)) {
      if (nowMs() > deadlineMs) {
        this.upkeep.begin(client);
        throw new SluiceError(
          'APPLY_BUSY',
          `${this.name}: its new page size waits until no application has the database open`,
          'Close it in the applications on this node, or restart them: it is tried again',
        );
      }
      await turn.wait(pauseMs);
    }
  }
}

/** What the file holds can only be replaced. */
function isUnsound(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'SQLITE_NOTADB' || code?.startsWith('SQLITE_CORRUPT') === true;
}
