import { existsSync, fstatSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  fchownSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { SystemCalls } from '../fuse/index.js';
import {
  encodeWalIndexHeader,
  WAL_INDEX_HEADER_SIZE,
  WAL_INDEX_VERSION,
  type WalIndexHeader,
} from '../sqlite/index.js';
import { syncFolder, writeDurably } from './durable-file.js';
import { entriesOf, MAX_DEPTH } from './folder-scan.js';
import { openToRead } from './readable-file.js';

const MARK = 'passed';
const COPY = 'cut-off';
const WAL = '-wal';
const SHM = '-shm';
const PIECE_BYTES = 1024 * 1024;
/** SQLite answers SQLITE_CANTOPEN to a wal-index of a version that it does not know. */
const UNKNOWN_VERSION = WAL_INDEX_VERSION + 1;
const NO_INDEX: WalIndexHeader = {
  change: 0,
  initialised: true,
  bigEndian: false,
  pageSize: 0,
  frames: 0,
  pageCount: 0,
  s0: 0,
  s1: 0,
  salt1: 0,
  salt2: 0,
};

/**
 * Applications that outlive their mount. Where the kernel writes WALs by itself they could go on to commit, on the file that the
 * next mount's applications use, with whom they share no locks. So they are cut off when a mount ends, and before the
 * next one begins: the database gets a new -wal with the same content and a new -shm, and nobody can write the old ones.
 * What they have committed by then is in it; from then on they get errors until they open the database again.
 */
export class Outlived {
  private readonly mark: string;

  /** `files`: the backing folder; `run`: on the same file system. */
  constructor(
    private readonly files: string,
    private readonly run: string,
    private readonly calls = SystemCalls.load(),
  ) {
    this.mark = join(run, MARK);
  }

  /**
   * Before the kernel may write WALs by itself. False if it must not: on this machine nobody could be cut off, for lack of an
   * immutable flag (of the file system) or of leases, or of the right to use them.
   */
  prepare(): boolean {
    const { calls } = this;
    if (calls === undefined) return false;
    try {
      return this.tryOut(calls);
    } catch {
      return false;
    }
  }

  private tryOut(calls: SystemCalls): boolean {
    const path = join(this.run, COPY);
    const left = openToRead(path);
    // Of a start that was cut short here.
    if (left !== undefined) {
      makeMutable(left, calls);
      closeSync(left);
    }
    writeFileSync(path, '');
    const fd = openSync(path, 'r');
    try {
      if (!calls.isUnwritten(fd) || !calls.setImmutable(fd, true) || !calls.setImmutable(fd, false)) return false;
    } finally {
      closeSync(fd);
      rmSync(path, { force: true });
    }
    if (!existsSync(this.mark)) writeDurably(this.mark, '1\n');
    return true;
  }

  /**
   * Nobody serves the mount: cuts off whoever still has a WAL open. Returns the paths of their databases. SluiceError
   * `APPLICATIONS_LEFT`: that cannot be done.
   */
  cutOff(): readonly string[] {
    if (!existsSync(this.mark)) return [];
    const { calls } = this;
    if (calls === undefined) throw applicationsLeft(`it cannot be told whether there are any; ${this.mark} says so`);
    const found = new Set<string>();
    for (const path of this.companions('', 0)) {
      const full = join(this.files, path);
      const fd = openToRead(full);
      if (fd === undefined) continue;
      try {
        // Left by a crash in the middle of what follows.
        makeMutable(fd, calls);
        if (!calls.isUnwritten(fd)) found.add(path.slice(0, -WAL.length));
      } finally {
        closeSync(fd);
      }
    }
    for (const name of found) {
      replaceWal(join(this.files, name + WAL), join(this.run, COPY), calls);
      spoilIndex(join(this.files, name + SHM));
    }
    return [...found];
  }

  private *companions(prefix: string, depth: number): Iterable<string> {
    for (const entry of entriesOf(join(this.files, prefix))) {
      const path = join(prefix, entry.name);
      if (entry.isDirectory() && depth < MAX_DEPTH) yield* this.companions(path, depth + 1);
      else if (entry.isFile() && (path.endsWith(WAL) || path.endsWith(SHM))) yield path;
    }
  }
}

function makeMutable(fd: number, calls: SystemCalls): void {
  if (calls.isImmutable(fd)) calls.setImmutable(fd, false);
}

/** Whoever has the old one open can write it no more. */
function replaceWal(path: string, copy: string, calls: SystemCalls): void {
  const old = openToRead(path);
  if (old === undefined) return;
  try {
    if (!calls.setImmutable(old, true)) throw applicationsLeft(`${path} cannot be made immutable`);
    const { mode, uid, gid } = fstatSync(old);
    copyFileSync(path, copy);
    chmodSync(copy, mode & 0o7777);
    const made = openSync(copy, 'r+');
    try {
      fchownSync(made, uid, gid);
      fsyncSync(made);
      // What is immutable cannot be replaced either.
      calls.setImmutable(old, false);
      renameSync(copy, path);
      calls.setImmutable(old, true);
      // What was written in that moment.
      writeOver(made, old);
    } finally {
      closeSync(made);
    }
    syncFolder(dirname(path));
  } catch (error) {
    // They go on as they were, until somebody has made room.
    if (isNamed(old)) calls.setImmutable(old, false);
    throw error;
  } finally {
    closeSync(old);
  }
}

function isNamed(fd: number): boolean {
  return fstatSync(fd).nlink > 0;
}

/** Writes where `target` differs from `source`. */
function writeOver(target: number, source: number): void {
  const has = Buffer.allocUnsafe(PIECE_BYTES);
  const wanted = Buffer.allocUnsafe(PIECE_BYTES);
  let differs = false;
  let at = 0;
  for (let read = PIECE_BYTES; read === PIECE_BYTES; at += read) {
    read = readSync(source, wanted, 0, PIECE_BYTES, at);
    const same = readSync(target, has, 0, PIECE_BYTES, at) >= read && has.compare(wanted, 0, read, 0, read) === 0;
    if (same) continue;
    differs = true;
    writeSync(target, wanted, 0, read, at);
  }
  if (fstatSync(target).size === at && !differs) return;
  ftruncateSync(target, at);
  fsyncSync(target);
}

/** The next user makes a new one; whoever has the old one mapped gets an error at the next transaction. */
function spoilIndex(path: string): void {
  const fd = openToRead(path);
  if (fd === undefined) return;
  closeSync(fd);
  const bytes = Buffer.alloc(2 * WAL_INDEX_HEADER_SIZE);
  const old = openSync(path, 'r+');
  try {
    rmSync(path, { force: true });
    encodeWalIndexHeader(NO_INDEX, bytes, UNKNOWN_VERSION);
    bytes.copy(bytes, WAL_INDEX_HEADER_SIZE, 0, WAL_INDEX_HEADER_SIZE);
    writeSync(old, bytes, 0, bytes.length, 0);
  } finally {
    closeSync(old);
  }
}

/** For the node's log. */
export function cutOffMessage(name: string): string {
  return `${name}: a process may have it open since before this mount; it cannot write it any more, and has to open it again`;
}

function applicationsLeft(why: string): SluiceError {
  return new SluiceError(
    'APPLICATIONS_LEFT',
    `applications that have databases open since before this mount could go on to write them: ${why}`,
    'End them, and start again as root; if there are none, remove that file',
  );
}
