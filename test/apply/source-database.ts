import { readFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { encodeLtx, type LtxPage, lockPage } from '../../src/ltx/index.js';
import { checksumOf } from '../ltx/support.js';

/** A database on a primary: each call of `capture` gives what has changed since the last as an LTX. */
export class SourceDatabase {
  readonly db: Database.Database;
  private image: Buffer = Buffer.alloc(0);
  private pageSize = 0;
  private checksum = 0n;
  txid = 0;

  constructor(
    readonly path: string,
    options: { pageSize?: number; mode?: 'wal' | 'delete' } = {},
  ) {
    this.db = new Database(path);
    this.db.pragma(`page_size=${options.pageSize ?? 4096}`);
    this.db.pragma(`journal_mode=${options.mode ?? 'wal'}`);
    this.db.pragma('synchronous=OFF');
    this.db.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB);
      CREATE INDEX tv ON t(v);
      CREATE TABLE total(n INTEGER);
      INSERT INTO total VALUES (0);
    `);
  }

  /** Inserts rows, and keeps `total` equal to the sum of them, which readers check. */
  insert(rows: number, padBytes = 100): void {
    this.db.transaction(() => {
      const insert = this.db.prepare('INSERT INTO t(v, pad) VALUES (?, randomblob(?))');
      for (let i = 0; i < rows; i++) insert.run(i + 1, padBytes);
      this.settle();
    })();
  }

  /** Changes every n-th row. */
  update(every: number): void {
    this.db.transaction(() => {
      this.db.prepare('UPDATE t SET v = v + 1, pad = randomblob(length(pad)) WHERE id % ? = 0').run(every);
      this.settle();
    })();
  }

  delete(every: number): void {
    this.db.transaction(() => {
      this.db.prepare('DELETE FROM t WHERE id % ? = 0').run(every);
      this.settle();
    })();
  }

  private settle(): void {
    this.db.exec('UPDATE total SET n = (SELECT coalesce(sum(v), 0) FROM t)');
  }

  /** All that has changed, one transaction; with `whole`, everything. */
  capture(whole = false): Buffer {
    const image = this.db.serialize();
    const pageSize = this.db.pragma('page_size', { simple: true }) as number;
    const all = whole || this.txid === 0 || pageSize !== this.pageSize;
    const pages: LtxPage[] = [];
    const every: LtxPage[] = [];
    for (let pgno = 1; pgno <= image.length / pageSize; pgno++) {
      if (pgno === lockPage(pageSize)) continue;
      const data = image.subarray((pgno - 1) * pageSize, pgno * pageSize);
      const before = this.image.subarray((pgno - 1) * pageSize, pgno * pageSize);
      every.push({ pgno, data });
      if (all || !data.equals(before)) pages.push({ pgno, data });
    }
    this.image = image;
    this.pageSize = pageSize;
    this.txid++;
    const preApply = all ? 0n : this.checksum;
    this.checksum = checksumOf(pageSize, every);
    const header = {
      pageSize,
      commit: image.length / pageSize,
      minTxid: all ? 1 : this.txid,
      maxTxid: this.txid,
      timestampMs: 1700000000000,
      preApply,
      postApply: this.checksum,
    };
    return Buffer.from(encodeLtx(header, pages));
  }

  /** The database file once everything is in it. */
  file(): Buffer {
    this.db.pragma('wal_checkpoint(TRUNCATE)');
    return readFileSync(this.path);
  }

  close(): void {
    this.db.close();
  }
}
