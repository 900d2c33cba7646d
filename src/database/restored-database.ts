import { SluiceError } from '../errors.js';
import { DatabaseSums, type Position, samePosition } from '../ltx/index.js';
import type { DataFolder } from './data-folder.js';
import { Database } from './database.js';
import { scanFolder } from './folder-scan.js';
import { SharedState } from './shared.js';
import { readWhole } from './whole-read.js';

/** What a database file in the data folder is known to be. */
export interface RestoredFacts {
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly timeMs: number;
}

/** Whether a data folder has no database, and has had none that it still knows of. */
export function hasNoDatabase(folder: DataFolder): boolean {
  return folder.knownNames(() => undefined).length === 0 && scanFolder(folder.files).databases.length === 0;
}

/**
 * Notes that the file of this name, which nobody uses, is a database at this position, as a clean stop would leave it: the
 * node that starts goes on from there. A checksum of 0n is not known, and taken from the pages; throws `RESTORE_CORRUPT` where
 * they have another. Again and again is as good as once.
 */
export async function adoptRestored(folder: DataFolder, name: string, facts: RestoredFacts): Promise<Position> {
  const database = new Database(name, 0, folder, new SharedState({ slots: 2 }), () =>
    Promise.reject(new Error('it is not served yet')),
  );
  try {
    const { pageSize, pageCount, timeMs } = facts;
    const sums = pageCount === 0 ? new DatabaseSums(pageSize) : await readWhole(database.path, pageSize, pageCount);
    const position = { txid: facts.position.txid, checksum: sums.checksum() };
    if (facts.position.checksum !== 0n && !samePosition(facts.position, position)) {
      throw new SluiceError('RESTORE_CORRUPT', `${name}: what was restored changed on the disk`, 'Check the disk');
    }
    database.adopt(sums, { position, pageSize, pageCount, timeMs }, true);
    database.saveClean();
    return position;
  } finally {
    database.close();
  }
}
