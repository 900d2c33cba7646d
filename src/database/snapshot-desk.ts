import { join } from 'node:path';
import { SluiceError } from '../errors.js';
import type { DataFolder } from './data-folder.js';
import type { Database } from './database.js';
import { PinFlags } from './pin-flags.js';
import { PinnedSnapshot } from './pinned-snapshot.js';
import type { Snapshot } from './types.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** Wait for the worker to grant a pin; a long rollback transaction holds it up. */
const PIN_TIMEOUT_MS = 60_000;

interface Waiting {
  readonly db: Database;
  resolve(message: Extract<FromWorker, { kind: 'pinned' }>): void;
  reject(error: unknown): void;
}

/** Asks the worker for pins, and keeps account of the snapshots that are read. Main thread. */
export class SnapshotDesk {
  private readonly waiting = new Map<number, Waiting>();
  private readonly open = new Map<PinnedSnapshot, Database>();
  private pins = 0;
  /** The mount is gone, and the worker with it: nothing changes any more. */
  private still = false;

  constructor(
    private readonly folder: DataFolder,
    private readonly send: (message: ToWorker) => void,
    /** Committed frames of the slot's WAL. */
    private readonly framesOf: (slot: number) => number,
    /** A snapshot was not of the position that it was said to be of. */
    private readonly mismatched: (db: Database) => void,
  ) {}

  handle(message: Extract<FromWorker, { kind: 'pinned' | 'pin-failed' }>): void {
    const waiting = this.waiting.get(message.pin);
    if (message.kind === 'pinned') waiting?.resolve(message);
    else waiting?.reject(new SluiceError('SNAPSHOT_FAILED', `no snapshot: ${message.reason}`));
  }

  /** The database of that slot is gone: what is granted there later may be another one's. */
  removed(slot: number): void {
    for (const [snapshot, database] of this.open) {
      if (database.slot === slot) snapshot.break('the database was removed');
    }
    for (const waiting of this.waiting.values()) {
      if (waiting.db.slot === slot) waiting.reject(new SluiceError('SNAPSHOT_FAILED', 'the database was removed'));
    }
  }

  /** After the worker's end, when all is logged: what was asked of it, and what is asked from now on, is granted here. */
  workerEnded(): void {
    this.still = true;
    for (const [pin, { db, resolve }] of this.waiting) resolve(this.grantStill(pin, db));
  }

  private grantStill(pin: number, db: Database): Extract<FromWorker, { kind: 'pinned' }> {
    const { slot, pageSize, pageCount, position } = db;
    const flags = new PinFlags({ pages: pageCount }).buffer;
    return { kind: 'pinned', slot, pin, flags, frames: this.framesOf(slot), pageSize, pageCount, ...position };
  }

  /** For the snapshots that are being read. Undefined if there are none. */
  keepWal(slot: number): Promise<unknown> | undefined {
    const snapshots = [...this.open].filter(([, database]) => database.slot === slot);
    return snapshots.length === 0 ? undefined : Promise.all(snapshots.map(([snapshot]) => snapshot.keepWal()));
  }

  /** Of a database that is open. */
  async take(db: Database): Promise<Snapshot> {
    const { folder, send } = this;
    const pin = ++this.pins;
    const path = join(folder.spool, `pin-${pin}`);
    const { slot, name } = db;
    const unpin = () => send({ kind: 'unpin', slot, pin });
    let timer: NodeJS.Timeout | undefined;
    try {
      const granted = await new Promise<Extract<FromWorker, { kind: 'pinned' }>>((resolve, reject) => {
        if (this.still) {
          resolve(this.grantStill(pin, db));
          return;
        }
        this.waiting.set(pin, { db, resolve, reject });
        timer = setTimeout(() => {
          reject(new SluiceError('SNAPSHOT_BUSY', `${name}: no moment between two transactions was found`));
        }, PIN_TIMEOUT_MS);
        send({ kind: 'pin', slot, pin, path });
      });
      const snapshot = new PinnedSnapshot(
        {
          name,
          databasePath: db.path,
          walPath: db.walPath,
          savedPath: path,
          flags: new PinFlags(granted.flags),
          frames: granted.frames,
          position: { txid: granted.txid, checksum: granted.checksum },
          pageSize: granted.pageSize,
          pageCount: granted.pageCount,
          timestampMs: db.positionTimeMs,
          nodeId: BigInt(`0x${folder.nodeId}`),
          onMismatch: () => this.mismatched(db),
        },
        () => {
          this.open.delete(snapshot);
          unpin();
        },
      );
      this.open.set(snapshot, db);
      return snapshot;
    } catch (error) {
      unpin();
      throw error;
    } finally {
      clearTimeout(timer);
      this.waiting.delete(pin);
    }
  }
}
