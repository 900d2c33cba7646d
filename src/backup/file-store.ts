import { randomBytes } from 'node:crypto';
import { constants, createReadStream, type Dir, type Dirent } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rm,
  stat,
  unlink,
  utimes,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { syncPath } from '../sync-path.js';
import {
  compareFiles,
  describeFile,
  type FileKey,
  formatFilePath,
  LEVEL_SNAPSHOT,
  parseFileName,
} from './file-names.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  STORE_CHUNK_BYTES,
  type Store,
  type StoreBody,
  type StoreFile,
  type StoreRoot,
} from './store.js';
import { databaseUrl } from './urls.js';

/** A temporary file older than this was left by a process that died. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
/** Names that a listing sorts at a time; it holds twice as many while it reads a folder. */
const WINDOW_FILES = 100_000;
/** Entries of a folder read at a time. */
const READ_ENTRIES = 1024;
const TEMPORARY_SUFFIX = '.tmp';
/** How deep below the root `databaseNames` looks. */
const NAME_DEPTH_LIMIT = 4;

/**
 * A folder of folders, one per database: `<root>/<database name>/ltx/<level>/<min16>-<max16>.ltx`.
 * Files are published by rename; a file's mtime is its LTX timestamp.
 */
export class FileStoreRoot implements StoreRoot {
  constructor(
    readonly url: string,
    private readonly path: string,
    private readonly abandonedMs: number = ABANDONED_MS,
  ) {}

  database(name: string): Store {
    const path = name === '' ? this.path : join(this.path, ...name.split('/'));
    return new FileStore(databaseUrl(this.url, name), path, this.abandonedMs);
  }

  async databaseNames(limit: number): Promise<string[]> {
    const names: string[] = [];
    await this.collectNames('', 0, limit, names);
    return names.sort().slice(0, limit);
  }

  close(): void {}

  private async collectNames(name: string, depth: number, limit: number, names: string[]): Promise<void> {
    for (const entry of await readFolder(join(this.path, name))) {
      if (!entry.isDirectory() || names.length >= limit) continue;
      if (entry.name === 'ltx' && name !== '') names.push(name);
      else if (depth < NAME_DEPTH_LIMIT) await this.collectNames(join(name, entry.name), depth + 1, limit, names);
    }
  }
}

/** One database's folder. */
export class FileStore implements Store {
  /** Levels whose folder exists and was made durable by this process, and was cleared of abandoned files. */
  private readonly preparedLevels = new Set<number>();

  constructor(
    readonly url: string,
    private readonly path: string,
    private readonly abandonedMs: number,
    private readonly windowFiles: number = WINDOW_FILES,
  ) {}

  async *list(range: ListRange): AsyncGenerator<FileKey, void, undefined> {
    const { firstLevel, lastLevel, afterMinTxid = 0 } = range;
    for (let level = firstLevel; level <= lastLevel; level++) {
      const start = { level, minTxid: level === firstLevel ? afterMinTxid : 0, maxTxid: Number.POSITIVE_INFINITY };
      // A folder has no order, so it is read again for each window of names.
      for (let after: FileKey | undefined = start; after !== undefined; ) {
        const window = await this.nextNames(level, after);
        yield* window;
        after = window.length === this.windowFiles ? window.at(-1) : undefined;
      }
    }
  }

  async listAll(): Promise<StoreFile[]> {
    const files: StoreFile[] = [];
    for await (const key of this.list({ firstLevel: 0, lastLevel: LEVEL_SNAPSHOT })) {
      const path = join(this.path, formatFilePath(key));
      const info = await this.attempt(`read ${path}`, () => statIfThere(path));
      if (info !== undefined) files.push({ ...key, sizeBytes: info.size, timeMs: info.mtimeMs });
    }
    return files;
  }

  async put(file: NewStoreFile, body: StoreBody): Promise<void> {
    const path = join(this.path, formatFilePath(file));
    await this.attempt(`write ${path}`, async () => {
      await this.prepareLevel(file.level, dirname(path));
      const temporary = `${path}.${randomBytes(4).toString('hex')}${TEMPORARY_SUFFIX}`;
      try {
        await writeBody(temporary, body, file.timestampMs);
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
      await syncPath(dirname(path));
    });
  }

  async *get(file: FileKey, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    const path = join(this.path, formatFilePath(file));
    const start = range?.offsetBytes ?? 0;
    const end = range?.lengthBytes === undefined ? Number.POSITIVE_INFINITY : start + range.lengthBytes - 1;
    if (end < start) return;
    const stream = createReadStream(path, { start, end, highWaterMark: STORE_CHUNK_BYTES });
    try {
      for await (const piece of stream) yield piece as Buffer;
    } catch (error) {
      throw storeError(error, `cannot read ${path}`, file);
    } finally {
      stream.destroy();
    }
  }

  async delete(file: FileKey): Promise<void> {
    const path = join(this.path, formatFilePath(file));
    await this.attempt(`delete ${path}`, () => rm(path, { force: true }));
  }

  /** The first names of a level behind `after`, in order; at most one window. */
  private nextNames(level: number, after: FileKey): Promise<FileKey[]> {
    const folder = join(this.path, 'ltx', String(level));
    return this.attempt(`list ${folder}`, async () => {
      const names: FileKey[] = [];
      for await (const entry of openFolder(folder)) {
        const range = parseFileName(entry.name);
        if (range === undefined) continue;
        const file = { level, ...range };
        if (compareFiles(file, after) > 0) names.push(file);
        if (names.length === 2 * this.windowFiles) cutNames(names, this.windowFiles);
      }
      cutNames(names, this.windowFiles);
      return names;
    });
  }

  /** Makes the level's folder, durably, and removes temporary files that a dead process left. */
  private async prepareLevel(level: number, folder: string): Promise<void> {
    if (this.preparedLevels.has(level)) return;
    const created = await mkdir(folder, { recursive: true });
    if (created !== undefined) {
      for (let path = folder; path.length >= dirname(created).length; path = dirname(path)) {
        await syncPath(path);
        if (path === dirname(path)) break;
      }
    }
    for (const entry of await readFolder(folder)) {
      if (!entry.name.endsWith(TEMPORARY_SUFFIX)) continue;
      const info = await statIfThere(join(folder, entry.name));
      if (info !== undefined && Date.now() - info.ctimeMs >= this.abandonedMs) await unlink(join(folder, entry.name));
    }
    this.preparedLevels.add(level);
  }

  private async attempt<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      this.preparedLevels.clear();
      throw storeError(error, `cannot ${what}`, undefined);
    }
  }
}

/** Writes, sets the times and fsyncs. */
async function writeBody(path: string, body: StoreBody, timestampMs: number): Promise<void> {
  if (!(body instanceof Uint8Array) && 'path' in body) await copyFile(body.path, path, constants.COPYFILE_EXCL);
  const handle = await open(path, 'a');
  try {
    if (body instanceof Uint8Array) await handle.writeFile(body);
    else if (!('path' in body)) await appendPieces(handle, body);
    await utimes(path, timestampMs / 1000, timestampMs / 1000);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function appendPieces(handle: FileHandle, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of pieces) await handle.writeFile(piece);
}

/** The first `limit` in order. */
function cutNames(names: FileKey[], limit: number): void {
  names.sort(compareFiles);
  names.length = Math.min(names.length, limit);
}

/** Its entries, a few at a time; none if there is no such folder. */
async function* openFolder(path: string): AsyncGenerator<Dirent, void, undefined> {
  let folder: Dir;
  try {
    folder = await opendir(path, { bufferSize: READ_ENTRIES });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  yield* folder;
}

/** Empty if there is no such folder. */
async function readFolder(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function statIfThere(path: string): Promise<{ size: number; mtimeMs: number; ctimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function storeError(error: unknown, what: string, file: FileKey | undefined): SluiceError {
  if (error instanceof SluiceError) return error;
  const options = { cause: error };
  switch (errorCode(error)) {
    case 'ENOENT': {
      const subject = file === undefined ? what : `${what} (${describeFile(file)})`;
      return new SluiceError('STORE_NOT_FOUND', `${subject}: no such file`, '', options);
    }
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new SluiceError(
        'STORE_ACCESS',
        `${what}: ${describeError(error)}`,
        'Check who may write the folder',
        options,
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new SluiceError(
        'STORE_FULL',
        `${what}: the disk is full`,
        'Make room; the backup goes on by itself',
        options,
      );
    default:
      return new SluiceError('STORE_FAILED', `${what}: ${describeError(error)}`, '', options);
  }
}
