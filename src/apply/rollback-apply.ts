import { fsync, ftruncateSync } from 'node:fs';
import { promisify } from 'node:util';
import { SluiceError } from '../errors.js';
import { WAL_FORMAT } from '../sqlite/index.js';
import type { DatabaseClient } from './client.js';
import type { ExclusiveLock } from './exclusive-lock.js';
import { ExclusiveUpgrade } from './exclusive-upgrade.js';
import { readOrZeros } from './files.js';
import { READERS_LIMIT_MS } from './limits.js';
import type { LtxFile } from './ltx-file.js';
import { writePages } from './page-writer.js';
import { RollbackJournal } from './rollback-journal.js';
import type { Turn } from './turn.js';

const sync = promisify(fsync);

/**
 * Writes the transaction's pages into a database in a rollback mode, under SQLite's EXCLUSIVE lock. False if the
 * database is in WAL mode now: it turned out to be, or the transaction must come that way, because open connections
 * would not see from page 1 that the pages in their caches are old. In WAL mode they look at the wal-index.
 *
 * What protects readers when this process dies half-way, and the kernel frees its lock: a rollback journal in SQLite's
 * own format, written before the first page. It makes the database *hot*: the next connection to look at it, this
 * process's successor or an application that may write, plays the old pages back before it reads one; an application
 * that may not write gets an error (SQLITE_BUSY, _READONLY_ROLLBACK or _CANTOPEN) until that has happened. Then the
 * node applies the transaction again. The journal is durable before the first page is written, as SQLite's own is, so that
 * after a power loss too the database is as before the transaction or as after it.
 */
export async function applyToRollback(
  client: DatabaseClient,
  ltx: LtxFile,
  lock: ExclusiveLock,
  turn: Turn,
): Promise<boolean> {
  // On an empty file BEGIN would make a database of its own, and COMMIT write it over ours.
  if (client.fileSize() === 0) throw failed(`${client.path} is empty, so it is not a database (SQLITE_NOTADB)`);
  await lock.take(client, turn);
  let touched = false;
  try {
    if (client.isWal()) return false;
    client.noteSeen();
    // Another page size cannot come that way, and changes where readers look.
    if (client.pageSize() === ltx.header.pageSize && !client.isNewToReaders(ltx.pageOne())) {
      if (await isApplied(client, ltx, turn)) return true;
      client.createWal();
      return false;
    }
    const journal = await saveOldPages(client, ltx, turn);
    touched = true;
    await writeOver(client, ltx, turn);
    journal.remove();
    touched = false;
    if (client.header()?.writeVersion === WAL_FORMAT) client.createWal();
    return true;
  } finally {
    client.end();
    // The journal is hot now: looking at the database makes SQLite play it back.
    if (touched) client.refreshMode();
  }
}

/**
 * Writes a replica's transaction into a database whose RESERVED lock this process has: the same way, and no other writer
 * can come in between. Throws `APPLY_BUSY` if readers do not make way, `APPLY_FAILED` for what cannot come like that.
 */
export async function commitToRollback(
  client: DatabaseClient,
  ltx: LtxFile,
  { turn, nowMs }: { readonly turn: Turn; readonly nowMs: () => number },
): Promise<void> {
  client.noteSeen();
  if (client.pageSize() !== ltx.header.pageSize) throw failed(`${client.path}: another page size must be made here`);
  if (!client.isNewToReaders(ltx.pageOne())) throw failed(`${client.path}: page 1 has no new change counter`);
  const lock = ExclusiveUpgrade.of(client.fd);
  const journal = await saveOldPages(client, ltx, turn);
  if (!(await lock.take(turn, nowMs, READERS_LIMIT_MS))) {
    journal.remove();
    throw new SluiceError('APPLY_BUSY', `${client.path}: readers hold it up`, 'Try again');
  }
  // From here on the journal is hot if this fails, and whoever has the lock next plays it back.
  await writeOver(client, ltx, turn);
  journal.remove();
  lock.end();
}

/** The transaction's pages into the file, whose readers are kept out. */
async function writeOver(client: DatabaseClient, ltx: LtxFile, turn: Turn): Promise<void> {
  await writePages(client.fd, ltx.pages(), turn);
  const sizeBytes = ltx.header.commit * ltx.header.pageSize;
  if (client.fileSize() !== sizeBytes) ftruncateSync(client.fd, sizeBytes);
  await sync(client.fd);
}

/** Whether the database is what the LTX makes of it: it was applied before, and the node did not hear of it. */
async function isApplied(client: DatabaseClient, ltx: LtxFile, turn: Turn): Promise<boolean> {
  const { commit, pageSize } = ltx.header;
  if (client.fileSize() !== commit * pageSize) return false;
  const present = Buffer.allocUnsafe(pageSize);
  let same = true;
  await eachPage(ltx, turn, (pgno, page) => {
    if (!same) return;
    readOrZeros(client.fd, present, 0, pageSize, (pgno - 1) * pageSize);
    same = present.equals(page);
  });
  return same;
}

/** A journal of all pages that the LTX changes or cuts off, made while the whole LTX is checked. */
async function saveOldPages(client: DatabaseClient, ltx: LtxFile, turn: Turn): Promise<RollbackJournal> {
  const pageSize = client.pageSize();
  const samePages = pageSize === ltx.header.pageSize;
  if (pageSize === 0) throw failed(`${client.path} is not a database`);
  if (!samePages && !ltx.isWhole) {
    throw failed(`page size ${ltx.header.pageSize} in the LTX, ${pageSize} in ${client.path}`);
  }
  const pages = Math.ceil(client.fileSize() / pageSize);
  const journal = new RollbackJournal(`${client.path}-journal`, client.fd, pages, pageSize);
  try {
    await eachPage(ltx, turn, (pgno) => samePages && journal.save(pgno));
    for (let pgno = samePages ? ltx.header.commit + 1 : 1; pgno <= pages; pgno++) {
      journal.save(pgno);
      if (pgno % 256 === 0) await turn.pass();
    }
    await journal.finish();
  } catch (error) {
    journal.abandon();
    throw error;
  }
  return journal;
}

function failed(message: string): SluiceError {
  return new SluiceError('APPLY_FAILED', message);
}

async function eachPage(ltx: LtxFile, turn: Turn, use: (pgno: number, page: Buffer) => void): Promise<void> {
  const reader = ltx.pages();
  const page = Buffer.allocUnsafe(ltx.header.pageSize);
  for (let count = 1; ; count++) {
    const pgno = reader.nextPage(page);
    if (pgno === 0) break;
    use(pgno, page);
    if (count % 256 === 0) await turn.pass();
  }
  reader.finish();
}
