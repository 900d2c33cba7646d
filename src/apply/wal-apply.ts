import { SluiceError } from '../errors.js';
import {
  backfilledFrames,
  type DatabaseHeader,
  parseWalIndexHeader,
  WAL_FORMAT,
  WAL_INDEX_PREFIX_SIZE,
  type WalIndexHeader,
} from '../sqlite/index.js';
import type { DatabaseClient } from './client.js';
import { readOrZeros } from './files.js';
import { FIRST_RETRY_MS, LAST_RETRY_MS } from './limits.js';
import type { LtxFile } from './ltx-file.js';
import type { Turn } from './turn.js';
import { WalAppender } from './wal-appender.js';

/** How a WAL stands after a transaction was added. */
export interface WalProgress {
  /** Frames in it, all in all. */
  readonly frames: number;
  /** Page 1 in the transaction; undefined if it was not in it. */
  readonly pageOne: DatabaseHeader | undefined;
}

const prefix = Buffer.alloc(WAL_INDEX_PREFIX_SIZE);

/**
 * Adds the transaction to the database's WAL as SQLite would: under its write lock, frames first, then the wal-index.
 * Readers are never in the way. If it fails or the process dies, frames and index entries may stand behind the last
 * commit, where the next writer, SQLite or this, overwrites them. `checkpointed` resolves when no checkpoint runs.
 */
export async function applyToWal(
  client: DatabaseClient,
  ltx: LtxFile,
  turn: Turn,
  checkpointed: () => Promise<void>,
): Promise<WalProgress> {
  for (let pauseMs = FIRST_RETRY_MS; !client.tryBegin(); pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS)) {
    await turn.wait(pauseMs);
  }
  try {
    return await appendToWal(client, ltx, turn, checkpointed);
  } finally {
    client.end();
  }
}

/** The same for who has the write lock. */
export async function appendToWal(
  client: DatabaseClient,
  ltx: LtxFile,
  turn: Turn,
  checkpointed: () => Promise<void>,
): Promise<WalProgress> {
  const before = readWalIndex(client);
  const pageSize = before.frames > 0 ? before.pageSize : client.pageSize();
  if (pageSize !== ltx.header.pageSize) {
    throw new SluiceError('APPLY_FAILED', `page size ${ltx.header.pageSize} in the LTX, ${pageSize} in ${client.path}`);
  }
  const appender = new WalAppender(client, before, pageSize);
  try {
    if (await appender.writeFrames(ltx.pages(), turn)) {
      const { pageOne } = appender.progress;
      // From this page 1 on the WAL must not be empty, and a checkpoint that has begun may be about to empty it.
      if (pageOne !== undefined && pageOne.writeVersion !== WAL_FORMAT) await checkpointed();
      appender.publish(ltx.header.commit);
    }
    return appender.progress;
  } finally {
    appender.close();
  }
}

/** Frames in the WAL, and how many of them are not in the database file yet. */
export function walFrames(client: DatabaseClient): { total: number; left: number } {
  readOrZeros(client.shmFd, prefix, 0, WAL_INDEX_PREFIX_SIZE, 0);
  const header = parseWalIndexHeader(prefix);
  if (header === undefined) return { total: 0, left: 0 };
  return { total: header.frames, left: Math.max(0, header.frames - backfilledFrames(prefix)) };
}

/** Under the write lock, or while nobody writes: it must be whole then. */
export function readWalIndex(client: DatabaseClient): WalIndexHeader {
  readOrZeros(client.shmFd, prefix, 0, WAL_INDEX_PREFIX_SIZE, 0);
  const header = parseWalIndexHeader(prefix);
  if (header === undefined) throw new SluiceError('APPLY_FAILED', `the wal-index of ${client.path} is damaged`);
  return header;
}
