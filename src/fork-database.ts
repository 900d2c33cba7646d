import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { openConfiguredStore, type RestoreOptions, type RestoreResult, restore } from './backup/index.js';
import type { Config } from './config/index.js';
import { adoptRestored, checkName, DataFolder } from './database/index.js';
import { SluiceError } from './errors.js';
import { lockDataFolder } from './keeper/index.js';
import type { Position } from './ltx/index.js';
import { HEADER_SIZE } from './sqlite/index.js';
import { syncPath } from './sync-path.js';

/** Beside a database, what SQLite would take for its own. */
const COMPANIONS = ['-wal', '-journal', '-shm'];
/** Bytes 24 to 27 of page 1, and 92 to 95, which say for which of its values the page count in the header is right. */
const CHANGE_COUNTER = 24;
const VERSION_VALID_FOR = 92;

export interface ForkOptions {
  readonly config: Config;
  /** What the new database is called. */
  readonly name: string;
  /** What to restore, and up to when. */
  readonly source: Omit<RestoreOptions, 'output' | 'force'>;
}

export interface Forked {
  readonly restored: RestoreResult;
  /** The first of the new lineage. */
  readonly position: Position;
}

/**
 * Restores a state of a backup as a new database of a stopped primary. It begins at TXID 1, and its content differs from
 * every state of the old one, by a number in its header that says nothing else: so no position of the one is ever one of the
 * other. A name under which the node or one of its stores has anything is refused.
 *
 * Throws `DATA_IN_USE`, `DATABASE_NAME`, `FORK_EXISTS`, `FORK_REPLICA`, restore's errors and Store's.
 */
export async function forkDatabase({ config, name, source }: ForkOptions): Promise<Forked> {
  checkName(name);
  if (config.lease.role === 'replica') {
    const hint = 'Fork on the primary: its replicas get it from there';
    throw new SluiceError('FORK_REPLICA', 'a replica has no databases of its own', hint);
  }
  const lock = lockDataFolder(config.data);
  try {
    const folder = new DataFolder(config.data);
    mustBeNew(folder, name);
    await mustNotBeStored(config, name);
    const output = join(folder.spool, 'fork.db');
    try {
      const restored = await restore({ ...source, output, force: true });
      await beginLineage(output);
      return { restored, position: await place(folder, name, output, restored) };
    } finally {
      rmSync(output, { force: true });
    }
  } finally {
    lock.release();
  }
}

function mustBeNew(folder: DataFolder, name: string): void {
  const path = join(folder.files, name);
  const taken = [path, ...COMPANIONS.map((suffix) => path + suffix)].find(
    (other) => lstatSync(other, { throwIfNoEntry: false }) !== undefined,
  );
  if (taken !== undefined) throw exists(`${taken} is there`);
  // Its TXIDs would go on from those of the database that was.
  if (folder.knownNames(() => undefined).includes(name)) throw exists(`the node has had a ${name} before`);
}

/** Two lineages in one place could not be told apart by those who restore from it. */
async function mustNotBeStored(config: Config, name: string): Promise<void> {
  for (const settings of config.backup) {
    const root = openConfiguredStore(settings);
    try {
      const store = root.database(name);
      if ((await store.readManifest()) !== undefined) throw exists(`${store.url} is the backup of another ${name}`);
      for await (const _file of store.list({ firstLevel: 0, lastLevel: 9 })) {
        throw exists(`${store.url} is the backup of another ${name}`);
      }
    } finally {
      root.close();
    }
  }
}

function exists(why: string): SluiceError {
  return new SluiceError('FORK_EXISTS', `a fork begins a new database: ${why}`, 'Choose another name');
}

/** Gives the header a change counter that no state of the old database has had, but for a chance of one in 2^31. */
async function beginLineage(path: string): Promise<void> {
  const fd = openSync(path, 'r+');
  try {
    const header = Buffer.alloc(HEADER_SIZE);
    if (readSync(fd, header, 0, HEADER_SIZE, 0) < HEADER_SIZE) {
      throw new SluiceError('FORK_EMPTY', 'the backup is of an empty database', 'Begin a new one by hand');
    }
    const old = header.readUInt32BE(CHANGE_COUNTER);
    const validFor = header.readUInt32BE(VERSION_VALID_FOR);
    let next = old;
    while (next === old || next === validFor) next = randomBytes(4).readUInt32BE() >>> 1;
    header.writeUInt32BE(next, CHANGE_COUNTER);
    if (validFor === old) header.writeUInt32BE(next, VERSION_VALID_FOR);
    writeSync(fd, header, 0, HEADER_SIZE, 0);
  } finally {
    closeSync(fd);
  }
  await syncPath(path);
}

async function place(folder: DataFolder, name: string, from: string, restored: RestoreResult): Promise<Position> {
  const to = join(folder.files, name);
  mkdirSync(dirname(to), { recursive: true });
  if (existsSync(to)) throw exists(`${to} is there`);
  renameSync(from, to);
  await syncPath(dirname(to));
  const { pageSize, pageCount } = restored;
  // The checksum is that of the pages as they are now.
  return adoptRestored(folder, name, { position: { txid: 1, checksum: 0n }, pageSize, pageCount, timeMs: Date.now() });
}
