import { constants, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { later } from '../disk/index.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { formatPosition } from '../ltx/index.js';
import { syncPath } from '../sync-path.js';
import type { DataFolder } from './data-folder.js';
import type { Database } from './database.js';

/** A checkpoint that empties the WAL while it is copied makes the copy begin again, so often at most. */
const MAX_COPIES = 3;
const PIECE_BYTES = 1024 * 1024;
/** In this order: what a checkpoint moves from the WAL to the database while they are copied is then in both. */
const SUFFIXES = ['-journal', '-wal', ''] as const;

/** Keeps databases that give way to others in dated folders. One copy at a time: it may take long, and no stream waits. */
export class SetAsides {
  private tail: Promise<unknown> = Promise.resolve();
  private stopped = false;

  constructor(private readonly folder: DataFolder) {}

  /** Copies the files as they are. Nothing writes them meanwhile, but a checkpoint may. Durable when it resolves. */
  keep(database: Database, reason: string): Promise<void> {
    const copied = this.tail.then(() => this.copy(database, reason));
    this.tail = copied.catch(() => undefined);
    return copied;
  }

  /** Makes what is being copied, and all that waits, reject. */
  stop(): void {
    this.stopped = true;
  }

  private async copy(database: Database, reason: string): Promise<void> {
    this.mustGoOn();
    const { finished, unfinished } = this.folder.newSetAside(reason);
    try {
      const target = join(unfinished, database.name);
      await later.mkdir(dirname(target), { recursive: true });
      for (let copies = 1; !(await this.copyAll(database, target)); copies++) {
        if (copies === MAX_COPIES) throw new Error('its WAL changes while it is copied');
      }
      const text = `${basename(target)} at position ${formatPosition(database.position)}, set aside: ${reason}\n`;
      await later.writeFile(`${target}.txt`, text);
      await syncPath(`${target}.txt`);
      for (let path = dirname(target); path !== this.folder.setAside; path = dirname(path)) await syncPath(path);
      await later.rename(unfinished, finished);
      await syncPath(this.folder.setAside);
      // The first copy made the folder of all of them.
      await syncPath(this.folder.root);
    } catch (error) {
      await later.rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
      throw new SluiceError(
        'SET_ASIDE_FAILED',
        `${database.name} is to give way to what the primary has, but could not be set aside: ${describeError(error)}`,
        `It is tried again: check the disk of ${this.folder.setAside}`,
        { cause: error },
      );
    }
    this.mustGoOn();
  }

  /** False if the WAL changed meanwhile, so that the copies may not belong together. */
  private async copyAll({ path, walPath }: Database, target: string): Promise<boolean> {
    const before = fileFacts(walPath);
    for (const suffix of SUFFIXES) {
      await later.rm(target + suffix, { force: true });
      try {
        await this.copyOne(path + suffix, target + suffix);
      } catch (error) {
        if (suffix === '' || errorCode(error) !== 'ENOENT') throw error;
        continue;
      }
      await syncPath(target + suffix);
    }
    return fileFacts(walPath) === before;
  }

  /** As a clone where the disk can do that; else in pieces, since a copy of 10 GB in one go would hold up a stop. */
  private async copyOne(from: string, to: string): Promise<void> {
    try {
      await later.copyFile(from, to, constants.COPYFILE_FICLONE_FORCE);
      return;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw error;
    }
    const source = await later.open(from, 'r');
    try {
      const target = await later.open(to, 'w');
      try {
        const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
        for (;;) {
          this.mustGoOn();
          const { bytesRead } = await source.read(piece, 0, PIECE_BYTES);
          if (bytesRead === 0) return;
          await target.writeFile(piece.subarray(0, bytesRead));
        }
      } finally {
        await target.close();
      }
    } finally {
      await source.close();
    }
  }

  private mustGoOn(): void {
    if (this.stopped) throw new SluiceError('STOPPING', 'the node stops');
  }
}

function fileFacts(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
}
