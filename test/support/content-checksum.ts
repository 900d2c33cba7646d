import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DatabaseSums, pageChecksum } from '../../src/ltx/index.js';

/**
 * The checksum of what a database holds, 16 hex digits as in `<db>-pos`, from copies of its file and of its -wal or
 * -journal, which SQLite itself puts together. The database must be quiet. Throws if PRAGMA integrity_check complains.
 */
export function contentChecksum(backingPath: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-content-'));
  try {
    const copy = join(folder, 'copy');
    for (const suffix of ['', '-wal', '-journal']) {
      if (existsSync(backingPath + suffix)) copyFileSync(backingPath + suffix, copy + suffix);
    }
    const db = new Sqlite(copy);
    db.pragma('wal_checkpoint(TRUNCATE)');
    const pageSize = db.pragma('page_size', { simple: true }) as number;
    // Not the file's size: a writer that died after its commit has not cut off the pages that it freed.
    const pageCount = db.pragma('page_count', { simple: true }) as number;
    const integrity = db.pragma('integrity_check', { simple: true });
    db.close();
    if (integrity !== 'ok') throw new Error(`${backingPath}: ${String(integrity)}`);
    const bytes = readFileSync(copy);
    const sums = new DatabaseSums(pageSize);
    const sum = { high: 0, low: 0 };
    for (let page = 1; page <= pageCount; page++) {
      pageChecksum(page, bytes, (page - 1) * pageSize, pageSize, sum);
      sums.set(page, sum.high, sum.low);
    }
    return sums.checksum().toString(16).padStart(16, '0');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
