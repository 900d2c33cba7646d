import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import Database from 'better-sqlite3';
import * as assert from 'uvu/assert';

const PIECE_BYTES = 4 * 1024 * 1024;

/** Brings everything of a database's WAL into its file, as a plain SQLite client; the WAL is gone then. */
export function settle(path: string): void {
  const db = new Database(path, { fileMustExist: true, timeout: 10_000 });
  db.pragma('wal_checkpoint(truncate)');
  db.close();
}

/** Fails unless the files have the same bytes; says where they differ first. */
export function assertSameBytes(path: string, expected: string): void {
  const a = openSync(path, 'r');
  const b = openSync(expected, 'r');
  try {
    assert.is(fstatSync(a).size, fstatSync(b).size, `${path} and ${expected} have one size`);
    const left = Buffer.allocUnsafe(PIECE_BYTES);
    const right = Buffer.allocUnsafe(PIECE_BYTES);
    for (let offset = 0; ; offset += PIECE_BYTES) {
      const count = readSync(a, left, 0, PIECE_BYTES, offset);
      readSync(b, right, 0, PIECE_BYTES, offset);
      if (count === 0) return;
      if (left.compare(right, 0, count, 0, count) === 0) continue;
      const at = left.subarray(0, count).findIndex((byte, i) => byte !== right[i]);
      assert.unreachable(`${path} and ${expected} differ from byte ${offset + at}`);
    }
  } finally {
    closeSync(a);
    closeSync(b);
  }
}

/** SQLite's own opinion of a database file. */
export function assertIntact(path: string): void {
  const db = new Database(path, { readonly: true, fileMustExist: true, timeout: 10_000 });
  try {
    assert.equal(db.pragma('integrity_check'), [{ integrity_check: 'ok' }], path);
  } finally {
    db.close();
  }
}

/** Whether a database has something in its WAL that is not in its file yet. */
export function hasWal(path: string): boolean {
  if (!existsSync(`${path}-wal`)) return false;
  const fd = openSync(`${path}-wal`, 'r');
  try {
    return fstatSync(fd).size > 0;
  } finally {
    closeSync(fd);
  }
}
