import { dirname, join } from 'node:path';
import { later } from '../disk/index.js';
import { describeError, SluiceError } from '../errors.js';
import { formatPosition, formatTxid, type Position } from '../ltx/index.js';
import { syncPath } from '../sync-path.js';
import type { DataFolder } from './data-folder.js';
import type { ReplicatedDatabase } from './types.js';

/** An entry is copied in pieces of this. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Copies the transactions of a database's log behind a position into a dated folder, an LTX file each, durably; nothing if
 * there is none. Returns the folder. For a tail that nobody else has and that the log is not going to keep for ever. Throws
 * `SET_ASIDE_FAILED`.
 */
export async function keepTail(
  folder: DataFolder,
  database: ReplicatedDatabase,
  after: Position,
  reason: string,
): Promise<string | undefined> {
  const { log, name } = database;
  const last = log.last;
  const first = Math.max(after.txid + 1, log.first);
  if (first > last) return undefined;
  const { finished, unfinished } = folder.newSetAside(reason);
  try {
    const target = join(unfinished, name);
    await later.mkdir(target, { recursive: true });
    for (let txid = first; txid <= last; txid++) await copyEntry(database, txid, target);
    const text = `${name}: the transactions behind ${formatPosition(after)} up to ${formatTxid(last)}, set aside: ${reason}\n`;
    await later.writeFile(`${target}.txt`, text);
    await syncPath(`${target}.txt`);
    for (let path = target; path !== folder.setAside; path = dirname(path)) await syncPath(path);
    await later.rename(unfinished, finished);
    await syncPath(folder.setAside);
    await syncPath(folder.root);
    return finished;
  } catch (cause) {
    await later.rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
    const text = `${name}: its last transactions could not be set aside: ${describeError(cause)}`;
    throw new SluiceError('SET_ASIDE_FAILED', text, `They are in the database. Check the disk of ${folder.setAside}`, {
      cause,
    });
  }
}

async function copyEntry({ log }: ReplicatedDatabase, txid: number, target: string): Promise<void> {
  const opened = log.get(txid)?.open();
  // Pruned meanwhile: what is newer is still worth keeping.
  if (opened === undefined) return;
  const { source, close } = opened;
  try {
    const path = join(target, `${formatTxid(txid)}-${formatTxid(txid)}.ltx`);
    const file = await later.open(path, 'w');
    try {
      const piece = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, source.size));
      for (let at = 0; at < source.size; ) {
        const read = source.read(piece, 0, piece.length, at);
        if (read === 0) throw new Error(`transaction ${formatTxid(txid)} is cut`);
        await file.writeFile(piece.subarray(0, read));
        at += read;
      }
      await file.sync();
    } finally {
      await file.close();
    }
  } finally {
    close();
  }
}
