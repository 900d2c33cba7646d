import { closeSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Store } from '../src/backup/index.js';
import {
  type Checksum,
  type ChecksumHalves,
  DatabaseSums,
  encodeLtx,
  LtxEncoder,
  type LtxHeader,
  type LtxPage,
  lockPage,
  pageChecksum,
} from '../src/ltx/index.js';
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../src/sqlite/index.js';

const PAGE_SIZE = 4096;
const ROWS_PER_TRANSACTION = 10_000;
/** A transaction changes every so manieth row. */
const ROW_STEP = 5003;
const SNAPSHOT_PAGES = 256;
const FIRST_MS = Date.UTC(2026, 0, 1);

/**
 * Makes a database of about so many megabytes in `folder`, and puts it in stores as one snapshot and `increments` files of
 * one transaction each (of about `megabytes / 5` pages), as a backup would. Returns the database's path: it is as the
 * newest state is.
 */
export async function fillStores(
  folder: string,
  stores: readonly Store[],
  megabytes: number,
  increments: number,
): Promise<string> {
  const path = join(folder, 'source.db');
  const db = new Database(path);
  db.pragma('journal_mode = wal');
  db.pragma('synchronous = off');
  fill(db, megabytes);
  const sums = new DatabaseSums(PAGE_SIZE);
  await putSnapshot(path, stores, sums);
  db.pragma('wal_autocheckpoint = 0');
  const rows = db.prepare('select max(id) from big').pluck().get() as number;
  const update = db.prepare(
    `with recursive n(i) as (select ? union all select i + ${ROW_STEP} from n where i + ${ROW_STEP} <= ?)
     update big set data = randomblob(900) where id in (select i from n)`,
  );
  for (let i = 1; i <= increments; i++) update.run(i * 7, rows);
  await putTransactions(`${path}-wal`, stores, sums);
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  return path;
}

function fill(db: Database.Database, megabytes: number): void {
  db.exec('create table big(id integer primary key, data blob)');
  const insert = db.prepare('insert into big(data) values (randomblob(500) || zeroblob(450))');
  const transactions = Math.ceil((megabytes * 1024 * 1024) / (1000 * ROWS_PER_TRANSACTION));
  for (let i = 0; i < transactions; i++) {
    db.transaction(() => {
      for (let row = 0; row < ROWS_PER_TRANSACTION; row++) insert.run();
    })();
  }
  db.pragma('wal_checkpoint(TRUNCATE)');
}

async function putSnapshot(path: string, stores: readonly Store[], sums: DatabaseSums): Promise<void> {
  const pageCount = statSync(path).size / PAGE_SIZE;
  const fd = openSync(path, 'r');
  try {
    const block = Buffer.alloc(SNAPSHOT_PAGES * PAGE_SIZE);
    eachPage(fd, block, pageCount, (pgno, at) => setSum(sums, pgno, block, at));
    const header = headerOf(1, pageCount, 0n, sums.checksum());
    const ltx = `${path}.ltx`;
    const output = openSync(ltx, 'w');
    const encoder = new LtxEncoder((piece) => writeSync(output, piece), header);
    eachPage(fd, block, pageCount, (pgno, at) => encoder.writePage(pgno, block, at));
    encoder.finish();
    closeSync(output);
    for (const store of stores) {
      await store.put({ level: 9, minTxid: 1, maxTxid: 1, timestampMs: FIRST_MS }, { path: ltx });
    }
    rmSync(ltx);
  } finally {
    closeSync(fd);
  }
}

function eachPage(fd: number, block: Buffer, pageCount: number, visit: (pgno: number, at: number) => void): void {
  for (let first = 1; first <= pageCount; first += SNAPSHOT_PAGES) {
    const bytes = readSync(fd, block, 0, block.length, (first - 1) * PAGE_SIZE);
    for (let at = 0; at < bytes; at += PAGE_SIZE) {
      const pgno = first + at / PAGE_SIZE;
      if (pgno !== lockPage(PAGE_SIZE)) visit(pgno, at);
    }
  }
}

/** Each transaction of a WAL as a file. */
async function putTransactions(wal: string, stores: readonly Store[], sums: DatabaseSums): Promise<void> {
  const fd = openSync(wal, 'r');
  const size = statSync(wal).size;
  const frame = Buffer.alloc(WAL_FRAME_HEADER_SIZE + PAGE_SIZE);
  let pages = new Map<number, LtxPage>();
  let txid = 1;
  try {
    for (let at = WAL_HEADER_SIZE; at < size; at += frame.length) {
      readSync(fd, frame, 0, frame.length, at);
      const pgno = frame.readUInt32BE(0);
      const commit = frame.readUInt32BE(4);
      pages.set(pgno, { pgno, data: Uint8Array.from(frame.subarray(WAL_FRAME_HEADER_SIZE)) });
      if (commit === 0) continue;
      const before = sums.checksum();
      for (const page of pages.values()) setSum(sums, page.pgno, page.data, 0);
      txid++;
      const sorted = [...pages.values()].sort((a, b) => a.pgno - b.pgno);
      const bytes = encodeLtx(headerOf(txid, commit, before, sums.checksum()), sorted);
      const file = { level: 0, minTxid: txid, maxTxid: txid, timestampMs: FIRST_MS + 1000 * txid };
      for (const store of stores) await store.put(file, bytes);
      pages = new Map();
    }
  } finally {
    closeSync(fd);
  }
}

function headerOf(txid: number, commit: number, preApply: Checksum, postApply: Checksum): LtxHeader {
  const timestampMs = FIRST_MS + 1000 * txid;
  return { pageSize: PAGE_SIZE, commit, minTxid: txid, maxTxid: txid, timestampMs, preApply, postApply };
}

const halves: ChecksumHalves = { high: 0, low: 0 };

function setSum(sums: DatabaseSums, pgno: number, bytes: Uint8Array, at: number): void {
  pageChecksum(pgno, bytes, at, PAGE_SIZE, halves);
  sums.set(pgno, halves.high, halves.low);
}
