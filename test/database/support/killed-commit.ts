import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { hasHotJournal } from '../../../src/database/page-images.js';
import { SUPER_NOTE_MAX, superJournalNote } from '../../../src/sqlite/index.js';

const WRITER = fileURLToPath(new URL('./attached-writer.js', import.meta.url));
const TRIES = 30;
const LIMIT_MS = 20_000;

/** A database of many pages, all `old`: a commit that changes all of them takes long enough to be killed in. */
export function makeOld(path: string, rows = 3000): void {
  const db = new Sqlite(path);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, filler BLOB)');
  db.prepare(
    `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
     INSERT INTO t SELECT i, 'old', zeroblob(3500) FROM n`,
  ).run();
  db.close();
}

/** What a database has in its rows: `old`, `new`, or, torn, `new,old`. */
export function valuesOf(path: string): string {
  const db = new Sqlite(path, { timeout: 10_000 });
  try {
    const rows = db.prepare('SELECT DISTINCT v FROM t ORDER BY v').all() as { v: string }[];
    return rows.map(({ v }) => v).join();
  } finally {
    db.close();
  }
}

/** Makes both `new` in one transaction, to its end. */
export function commitNew(main: string, attached: string): void {
  const db = new Sqlite(main);
  try {
    db.prepare('ATTACH ? AS other').run(attached);
    db.exec("BEGIN; UPDATE t SET v = 'new'; UPDATE other.t SET v = 'new'; COMMIT");
  } finally {
    db.close();
  }
}

/**
 * The same in another process, which is killed when both journals name the super-journal and that is still there.
 * `backing`: where their files can be watched, if the paths are below a mount. Returns the super-journal's name.
 */
export async function killInCommit(main: string, attached: string, backing = (path: string): string => path) {
  for (let n = 0; n < TRIES; n++) {
    const writer = spawn(process.execPath, [WRITER, main, attached], { stdio: ['ignore', 'ignore', 'inherit'] });
    const ended = once(writer, 'exit');
    const untilMs = performance.now() + LIMIT_MS;
    while (writer.exitCode === null && performance.now() < untilMs) {
      if (named(backing(main)) && named(backing(attached))) break;
      await pause(1);
    }
    writer.kill('SIGKILL');
    await ended;
    const superJournal = superJournalOf(backing(main));
    if (superJournal !== undefined && named(backing(main)) && named(backing(attached))) return superJournal;
    // Too late: back to what it was, by its own journals, or by another transaction.
    for (const path of [main, attached]) {
      const db = new Sqlite(path, { timeout: 10_000 });
      db.exec("UPDATE t SET v = 'old'");
      db.close();
    }
  }
  throw new Error(`no writer of ${TRIES} could be killed in its commit`);
}

/** Path of the super-journal beside a main database, if there is one. */
export function superJournalOf(main: string): string | undefined {
  const found = readdirSync(dirname(main)).find((name) => name.startsWith(`${basename(main)}-mj`));
  return found === undefined ? undefined : join(dirname(main), found);
}

function named(database: string): boolean {
  const path = `${database}-journal`;
  // Before its header is written the database was not touched, and the journal is not hot.
  if (!existsSync(path) || !hasHotJournal(database)) return false;
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, SUPER_NOTE_MAX));
    readSync(fd, tail, 0, tail.length, size - tail.length);
    return superJournalNote(tail) !== undefined;
  } finally {
    closeSync(fd);
  }
}
