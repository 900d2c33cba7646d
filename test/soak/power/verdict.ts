import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DatabaseSums, pageChecksum } from '../../../src/ltx/index.js';
import { MountBench } from '../../database/support/mount-bench.js';
import { transactionsIn } from './content.js';
import type { Promises } from './promise.js';

/** A node holds so many databases here. */
export const SLOTS = 16;

/** Starts a node, without a mount, on data folders, and looks at what it makes of them. */
export class Judge {
  /** How often recovery came to what. */
  readonly outcomes = new Map<string, number>();

  constructor(private readonly promises: Promises) {}

  /** Throws if what the node makes of the data folder `root` is wrong; `again`: or if a second start makes something else of it. */
  async judge(root: string, databases: readonly string[], again: boolean): Promise<void> {
    const positions = await this.recovered(root, databases);
    if (!again) return;
    const then = await this.recovered(root, databases);
    for (const db of databases) {
      if (then.get(db) !== positions.get(db)) {
        throw new Error(`${db}: a second start makes ${then.get(db)} of ${positions.get(db)}`);
      }
    }
  }

  private async recovered(root: string, databases: readonly string[]): Promise<Map<string, string | undefined>> {
    const bench = new MountBench(root, this.promises.mountPath, SLOTS);
    const positions = new Map<string, string | undefined>();
    try {
      await bench.start();
      for (const { outcome } of bench.outcomes) this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
      await bench.quiet();
      const failed = bench.warnings.find((warning) => warning.includes('failed'));
      if (failed !== undefined) throw new Error(failed);
      const counts = new Map<string, number | undefined>();
      for (const db of databases) {
        const problem = bench.databases.get(db)?.problem;
        if (problem !== undefined) throw problem.error;
        const held = contentOf(bench.backing(db), db, join(root, '..', 'copy'));
        this.promises.check(db, held?.transactions);
        counts.set(db, held?.transactions?.n);
        const position = bench.position(db);
        positions.set(db, position);
        if (position?.split('/')[1] !== held?.checksum) {
          throw new Error(`${db} is at ${position}, and its content is ${held?.checksum}`);
        }
      }
      const both = databases.filter((db) => db.startsWith('pair')).map((db) => counts.get(db) ?? 0);
      if (both.length === 2 && both.some((n) => n > 2) && both[0] !== both[1]) {
        throw new Error(`a transaction over two databases is in one of them: ${both.join(' and ')} transactions`);
      }
    } finally {
      await bench.stop(true);
    }
    return positions;
  }
}

/** What a database holds. */
export interface Content {
  readonly transactions: { readonly generation: number; readonly n: number } | undefined;
  readonly checksum: string;
}

/** What SQLite finds in a database, its WAL and its journal; undefined if there is no database or it is empty. */
export function contentOf(path: string, name: string, scratch: string): Content | undefined {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined;
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch);
  const copy = join(scratch, 'copy');
  for (const suffix of ['', '-wal', '-journal']) {
    if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
  }
  const db = new Sqlite(copy);
  try {
    db.pragma('wal_checkpoint(TRUNCATE)');
    const integrity = db.pragma('integrity_check', { simple: true });
    if (integrity !== 'ok') throw new Error(`${name}: integrity_check says ${String(integrity)}`);
    const pageSize = db.pragma('page_size', { simple: true }) as number;
    const pageCount = db.pragma('page_count', { simple: true }) as number;
    // Its first transaction was taken back, by the journal: to the node that is none yet.
    if (pageCount === 0) return undefined;
    const transactions = transactionsIn(db, name);
    return { transactions, checksum: checksumOf(readFileSync(copy), pageSize, pageCount) };
  } finally {
    db.close();
  }
}

function checksumOf(bytes: Buffer, pageSize: number, pageCount: number): string {
  const sums = new DatabaseSums(pageSize);
  const sum = { high: 0, low: 0 };
  for (let page = 1; page <= pageCount; page++) {
    pageChecksum(page, bytes, (page - 1) * pageSize, pageSize, sum);
    sums.set(page, sum.high, sum.low);
  }
  return sums.checksum().toString(16).padStart(16, '0');
}
