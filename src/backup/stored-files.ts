import type { Txid } from '../ltx/index.js';
import { type FileKey, LEVEL_SNAPSHOT } from './file-names.js';

/** Runs of TXIDs that are kept: one, and one more for each hole in a store. */
const RUN_LIMIT = 1000;

/** TXIDs that files cover without a hole. */
interface Run {
  minTxid: Txid;
  maxTxid: Txid;
}

/**
 * What a backup has to know of the files that a store holds of a database, in bounded memory: not each of them, but which
 * TXIDs they cover. A restore reaches the newest exactly if one run covers all of them from TXID 1 on: a snapshot covers
 * all up to its own, and each other file leads on from what it overlaps or follows.
 */
export class StoredFiles {
  /** In order, neither overlapping nor touching each other. */
  private readonly runs: Run[] = [];
  private newestFile: FileKey | undefined;
  private newestSnapshotTxid: Txid = 0;

  constructor(private readonly runLimit: number = RUN_LIMIT) {}

  /** The file that ends last; of several the one that was compacted most, since a restore begins with a snapshot. */
  get newest(): FileKey | undefined {
    return this.newestFile;
  }

  /** Where the newest snapshot ends; 0 if there is none. */
  get snapshotTxid(): Txid {
    return this.newestSnapshotTxid;
  }

  /** How far a restore gets: the newest, unless something is missing before it. 0 if it cannot even begin. */
  get restorableTxid(): Txid {
    const first = this.runs[0];
    return first?.minTxid === 1 ? first.maxTxid : 0;
  }

  /** Takes note of a file; in any order, but fastest in that of a listing. */
  add(file: FileKey): void {
    const { newestFile } = this;
    const order = newestFile && (file.maxTxid - newestFile.maxTxid || file.level - newestFile.level);
    if (order === undefined || order > 0) this.newestFile = file;
    if (file.level === LEVEL_SNAPSHOT) this.newestSnapshotTxid = Math.max(this.newestSnapshotTxid, file.maxTxid);
    this.cover(file);
  }

  private cover({ minTxid, maxTxid }: FileKey): void {
    const { runs } = this;
    let from = runs.length;
    while (from > 0 && runs[from - 1]!.maxTxid + 1 >= minTxid) from--;
    let to = from;
    const merged = { minTxid, maxTxid };
    for (; to < runs.length && runs[to]!.minTxid <= maxTxid + 1; to++) {
      merged.minTxid = Math.min(merged.minTxid, runs[to]!.minTxid);
      merged.maxTxid = Math.max(merged.maxTxid, runs[to]!.maxTxid);
    }
    runs.splice(from, to - from, merged);
    // What is forgotten is one more hole: at worst a snapshot is made that was not needed. The first and last must stay.
    if (runs.length > this.runLimit) runs.splice(1, 1);
  }
}
