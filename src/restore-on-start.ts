import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolders, takeAfterFolder } from './after-folder.js';
import {
  type BackupLog,
  describeFile,
  openConfiguredStore,
  type RestoreResult,
  restore,
  type StoreRoot,
} from './backup/index.js';
import { type Config, formatSize } from './config/index.js';
import { adoptRestored, checkName, DataFolder, hasNoDatabase, writeDurably } from './database/index.js';
import { SluiceError } from './errors.js';
import { formatChecksum, formatTxid, parseChecksum, parseTxid } from './ltx/index.js';
import { syncPath } from './sync-path.js';

/** Names that are looked for; far more than a node can hold. */
const MAX_NAMES = 100_000;
/** Databases that are restored at a time. */
const AT_ONCE = 2;
const PROGRESS_MS = 5_000;
const FOLDER = 'restore';
/** In the folder: that all is there, and what it is. Written when it is, removed when all is in its place. */
const PLAN = 'plan.json';

export interface RestoreOnStartOptions {
  readonly config: Config;
  /** A node has served the mount before this one: its databases are what they are. */
  readonly served: boolean;
  readonly log: BackupLog;
}

/** A database that was restored, under a name that nobody looks for. */
interface Restored {
  readonly name: string;
  readonly file: string;
  /** 16 hex digits each. */
  readonly txid: string;
  readonly checksum: string;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly timeMs: number;
}

/**
 * With `restore: if-missing`, before anything else is done with the data folder: if it has no database, brings all that the
 * first store has. They are restored beside, and put in their places when all of them are whole: what is interrupted before
 * that begins anew, what is interrupted after it goes on. Throws what keeps it from being done: then the node does not start.
 */
export async function restoreOnStart(options: RestoreOnStartOptions): Promise<void> {
  const { config, served } = options;
  const folder = join(config.data, FOLDER);
  const isPlanned = existsSync(join(folder, PLAN));
  // A replica of a store takes what it needs by itself.
  const isFed = config.lease.role === 'replica' && config.replication.upstream === 'store';
  if (!isPlanned && (config.restore === 'never' || served || isFed)) return;
  const data = new DataFolder(config.data);
  if (!isPlanned) {
    if (!hasNoDatabase(data)) return;
    rmSync(folder, { recursive: true, force: true });
    if (!(await restoreAll(options, folder))) return;
  }
  await putInPlace(options, data, folder);
}

/** False if the store has none. */
async function restoreAll({ config, log }: RestoreOnStartOptions, folder: string): Promise<boolean> {
  const settings = config.backup[0];
  if (settings === undefined)
    throw new SluiceError('CONFIG', 'there is no store to restore from', 'Add it under backup');
  const store = openConfiguredStore(settings);
  try {
    const names = await store.databaseNames(MAX_NAMES, new Set());
    for (const name of names) checkName(name);
    if (names.length === 0) {
      log.info({ store: store.url }, 'nothing to restore: the store has no database, so this node starts empty');
      return false;
    }
    log.info({ store: store.url, databases: names.length }, 'the data folder has no database: restoring');
    mkdirSync(folder, { recursive: true });
    const restored: Restored[] = new Array(names.length);
    let next = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < names.length; i = next++)
        restored[i] = await restoreOne(store, names[i]!, folder, i, log);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    await syncPath(folder);
    writeDurably(join(folder, PLAN), `${JSON.stringify(restored, undefined, 1)}\n`);
    return true;
  } catch (error) {
    throw failure(error, store);
  } finally {
    store.close();
  }
}

async function restoreOne(
  store: StoreRoot,
  name: string,
  folder: string,
  number: number,
  log: BackupLog,
): Promise<Restored> {
  const file = `${number}.db`;
  let toldMs = performance.now();
  const result = await restore({
    store: store.database(name),
    output: join(folder, file),
    onProgress: ({ doneBytes, totalBytes }) => {
      if (performance.now() - toldMs < PROGRESS_MS) return;
      toldMs = performance.now();
      const percent = Math.floor((100 * doneBytes) / Math.max(1, totalBytes));
      log.info(
        { database: name, doneBytes, totalBytes },
        `restoring ${name}: ${percent} % of ${formatSize(totalBytes)}`,
      );
    },
  });
  log.info({ database: name, txid: formatTxid(result.txid), sizeBytes: result.sizeBytes }, 'restored');
  for (const { file, why } of result.leftOut) {
    log.warn(
      { database: name, file: describeFile(file), why },
      `${name} was restored without a file of the backup: ${describeFile(file)}: ${why}`,
    );
  }
  return { name, file, ...describe(result) };
}

/**
 * What other programs store (Litestream) names no database checksum, so nothing can say that a backup there goes on from what
 * was restored: it goes on with the next TXID, and so with a snapshot.
 */
function describe({
  txid,
  checksum,
  pageSize,
  pageCount,
  timestampMs,
}: RestoreResult): Omit<Restored, 'name' | 'file'> {
  const position = { txid: formatTxid(checksum === 0n ? txid + 1 : txid), checksum: formatChecksum(checksum) };
  return { ...position, pageSize, pageCount, timeMs: timestampMs };
}

/** Each file to its name, then what it is to its state. What is done already is not done again. */
async function putInPlace({ log }: RestoreOnStartOptions, data: DataFolder, folder: string): Promise<void> {
  const plan = JSON.parse(readFileSync(join(folder, PLAN), 'utf8')) as readonly Restored[];
  for (const { name, file, txid, checksum, pageSize, pageCount, timeMs } of plan) {
    checkName(name);
    const from = join(folder, file);
    const to = join(data.files, name);
    if (existsSync(from)) {
      if (existsSync(to)) throw inTheWay(to, from);
      await makeFolder(data.files, dirname(to));
      renameSync(from, to);
      takeAfterFolder(to);
      await syncPath(dirname(to));
    }
    const position = { txid: parseTxid(txid), checksum: parseChecksum(checksum) };
    await adoptRestored(data, name, { position, pageSize, pageCount, timeMs });
  }
  rmSync(join(folder, PLAN));
  await syncPath(folder);
  rmSync(folder, { recursive: true, force: true });
  log.info({ databases: plan.length }, 'all databases are restored');
}

/** With those above it, durably. */
async function makeFolder(root: string, folder: string): Promise<void> {
  if (folder === root || existsSync(folder)) return;
  await makeFolder(root, dirname(folder));
  makeFolders(folder);
  await syncPath(dirname(folder));
}

function inTheWay(path: string, restored: string): SluiceError {
  return new SluiceError(
    'RESTORE_EXISTS',
    `${path} is in the place of a restored database`,
    `Move it away to go on; what was restored is ${restored}`,
  );
}

/** Without its databases a node would begin new ones under their names. */
function failure(error: unknown, store: StoreRoot): SluiceError {
  const code = error instanceof SluiceError ? error.code : 'RESTORE_FAILED';
  const hint = error instanceof SluiceError ? error.hint : '';
  return new SluiceError(
    code,
    `restore: if-missing: nothing was restored from ${store.url}, and the node does not start without: ${error instanceof Error ? error.message : String(error)}`,
    hint === '' ? 'To start without it, set restore: never' : `${hint}. To start without it, set restore: never`,
    { cause: error },
  );
}
