import { randomBytes } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, rename, rm, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { syncPath } from '../sync-path.js';
import { FileManifest } from './file-manifest.js';
import {
  compareFiles,
  describeFile,
  type FileKey,
  formatFileName,
  formatFilePath,
  LEVEL_SNAPSHOT,
  parseFileName,
} from './file-names.js';
import { makeFolder, openFolder, readFolder, removeAbandoned, statIfThere } from './folders.js';
import { type LinkOptions, linkOrRename } from './link.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  STORE_CHUNK_BYTES,
  type Store,
  type StoreBody,
  type StoredManifest,
  type StoreFile,
  type StoreRoot,
  unfencedError,
} from './store.js';
import { databaseUrl } from './urls.js';

/** A temporary file older than this was left by a process that died. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
/** Names that a listing sorts at a time; it holds twice as many while it reads a folder. */
const WINDOW_FILES = 100_000;
const STATS_AT_ONCE = 32;
const TEMPORARY_SUFFIX = '.tmp';
/** Beside `ltx`: files that were taken out of the chain. */
const SET_ASIDE = 'set-aside';
/** How deep below the root `databaseNames` looks: for a message, and for all of them. */
const NAME_DEPTH_LIMIT = 4;
const ALL_DEPTH_LIMIT = 32;

/**
 * A folder of folders, one per database: `<root>/<database name>/ltx/<level>/<min16>-<max16>.ltx`.
 * Files are published by link, so that none takes another's place; a file's mtime is its LTX timestamp.
 */
export class FileStoreRoot implements StoreRoot {
  private readonly links: LinkOptions;
  private hasLinks = true;

  constructor(
    readonly url: string,
    private readonly path: string,
    private readonly abandonedMs: number = ABANDONED_MS,
    links: LinkOptions = {},
  ) {
    const onMissing = (): void => {
      this.hasLinks = false;
    };
    this.links = { ...links, onMissing };
  }

  database(name: string): Store {
    const path = name === '' ? this.path : join(this.path, ...name.split('/'));
    return new FileStore(databaseUrl(this.url, name), path, this.abandonedMs, WINDOW_FILES, this.links);
  }

  async databaseNames(limit: number, known?: ReadonlySet<string>): Promise<string[]> {
    const names: string[] = [];
    await this.collectNames('', known === undefined ? NAME_DEPTH_LIMIT : ALL_DEPTH_LIMIT, limit, names);
    return names.sort().slice(0, limit);
  }

  warning(): SluiceError | undefined {
    return this.hasLinks ? undefined : unfencedError(this.url, 'its file system has no hard links');
  }

  close(): void {}

  private async collectNames(name: string, depthLeft: number, limit: number, names: string[]): Promise<void> {
    const folders = (await readFolder(join(this.path, name))).filter((entry) => entry.isDirectory());
    if (name !== '' && folders.some((entry) => entry.name === 'ltx')) {
      names.push(name);
      return;
    }
    for (const entry of folders) {
      if (depthLeft > 0 && names.length < limit)
        await this.collectNames(join(name, entry.name), depthLeft - 1, limit, names);
    }
  }
}

/** One database's folder. */
export class FileStore implements Store {
  private readonly manifest: FileManifest;
  /** Levels whose folder exists and was made durable by this process. */
  private readonly preparedLevels = new Set<number>();
  /** When a folder was cleared of what dead processes left. */
  private readonly clearedMs = new Map<string, number>();

  constructor(
    readonly url: string,
    private readonly path: string,
    private readonly abandonedMs: number,
    private readonly windowFiles: number = WINDOW_FILES,
    private readonly links: LinkOptions = {},
  ) {
    this.manifest = new FileManifest(path, links);
  }

  async *list(range: ListRange): AsyncGenerator<StoreFile, void, undefined> {
    const { firstLevel, lastLevel, afterMinTxid = 0 } = range;
    for (let level = firstLevel; level <= lastLevel; level++) {
      const start = { level, minTxid: level === firstLevel ? afterMinTxid : 0, maxTxid: Number.POSITIVE_INFINITY };
      // A folder has no order, so it is read again for each window of names.
      for (let after: FileKey | undefined = start; after !== undefined; ) {
        const window = await this.nextNames(level, after);
        yield* this.withSizes(window);
        after = window.length === this.windowFiles ? window.at(-1) : undefined;
      }
    }
  }

  async listAll(): Promise<StoreFile[]> {
    const files: StoreFile[] = [];
    for await (const file of this.list({ firstLevel: 0, lastLevel: LEVEL_SNAPSHOT })) files.push(file);
    return files;
  }

  async put(file: NewStoreFile, body: StoreBody): Promise<void> {
    const path = join(this.path, formatFilePath(file));
    await this.attempt(`write ${path}`, async () => {
      await this.prepareLevel(file.level, dirname(path));
      const temporary = `${path}.${randomBytes(4).toString('hex')}${TEMPORARY_SUFFIX}`;
      try {
        await writeBody(temporary, body, file.timestampMs);
        if (!(await linkOrRename(temporary, path, this.links))) throw existsError(path);
      } finally {
        await rm(temporary, { force: true });
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

  async read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number> {
    const path = join(this.path, formatFilePath(file));
    try {
      const handle = await open(path, 'r');
      try {
        for (let filled = 0; ; ) {
          const { bytesRead } = await handle.read(target, filled, target.length - filled, offsetBytes + filled);
          filled += bytesRead;
          if (bytesRead === 0 || filled === target.length) return filled;
        }
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw storeError(error, `cannot read ${path}`, file);
    }
  }

  async delete(files: readonly FileKey[]): Promise<void> {
    for (const file of files) {
      const path = join(this.path, formatFilePath(file));
      await this.attempt(`delete ${path}`, () => rm(path, { force: true }));
    }
  }

  async setAside(file: FileKey): Promise<void> {
    const path = join(this.path, formatFilePath(file));
    await this.attempt(`set ${path} aside`, async () => {
      const folder = join(this.path, SET_ASIDE, String(file.level));
      await mkdir(folder, { recursive: true });
      try {
        await rename(path, join(folder, `${formatFileName(file)}.${Date.now()}`));
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw error;
      }
    });
  }

  readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    return this.attempt(`read the manifest in ${this.path}`, () => this.manifest.read(known));
  }

  writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    return this.attempt(`write the manifest in ${this.path}`, async () => {
      await makeFolder(this.path);
      await this.clear(this.path);
      return this.manifest.write(bytes, previous);
    });
  }

  private async *withSizes(keys: readonly FileKey[]): AsyncGenerator<StoreFile, void, undefined> {
    for (let at = 0; at < keys.length; at += STATS_AT_ONCE) {
      const found = keys.slice(at, at + STATS_AT_ONCE).map(async (key) => {
        const path = join(this.path, formatFilePath(key));
        const info = await this.attempt(`read ${path}`, () => statIfThere(path));
        return info && { ...key, sizeBytes: info.size, timeMs: info.mtimeMs };
      });
      for (const file of await Promise.all(found)) if (file !== undefined) yield file;
    }
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

  /** Makes the level's folder, durably. */
  private async prepareLevel(level: number, folder: string): Promise<void> {
    if (!this.preparedLevels.has(level)) await makeFolder(folder);
    await this.clear(folder);
    this.preparedLevels.add(level);
  }

  /** Removes temporary files that a dead process left, now and then: those of the one before are too young at first. */
  private async clear(folder: string): Promise<void> {
    const agoMs = Date.now() - (this.clearedMs.get(folder) ?? Number.NEGATIVE_INFINITY);
    if (agoMs < this.abandonedMs) return;
    await removeAbandoned(folder, TEMPORARY_SUFFIX, this.abandonedMs);
    this.clearedMs.set(folder, Date.now());
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

function existsError(path: string): SluiceError {
  return new SluiceError('STORE_EXISTS', `cannot write ${path}: there is another file of this name`);
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
      return new SluiceError(
        'STORE_ACCESS',
        `${what}: ${describeError(error)}`,
        'Check who may write the folder',
        options,
      );
    case 'EROFS':
      return new SluiceError(
        'STORE_ACCESS',
        `${what}: ${describeError(error)}`,
        'Mount its file system so that it can be written',
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
