import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Disk, Later, LaterFile } from './types.js';
import type { Target, WatchedFolder } from './watched-folder.js';

const { O_CREAT, O_TRUNC, O_RDWR, O_WRONLY, O_RDONLY, O_APPEND, O_EXCL } = fs.constants;
/** The modes that are used. */
const MODES: Record<string, number> = {
  r: O_RDONLY,
  'r+': O_RDWR,
  w: O_WRONLY | O_CREAT | O_TRUNC,
  'w+': O_RDWR | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND,
  'a+': O_RDWR | O_CREAT | O_APPEND,
};

/**
 * node:fs on a data folder that is watched: each call may be made to fail before it is done, and is recorded once it is. For
 * tests only, and as slow as that is. What node:fs does in several steps is done in them, so that each is seen.
 */
export function watchedDisk(folder: WatchedFolder): Disk {
  const disk = new WatchedDisk(folder);
  const calls: Record<string, unknown> = {};
  for (const name of Object.getOwnPropertyNames(WatchedDisk.prototype)) {
    const call = disk[name as keyof WatchedDisk] as unknown;
    if (name !== 'constructor' && typeof call === 'function') calls[name] = call.bind(disk);
  }
  // Each has a form of node:fs's overloads that covers all calls there are; the names are checked here.
  return { ...(calls as unknown as Omit<Disk, 'later'>), later: laterOf(disk) } satisfies Record<keyof Disk, unknown>;
}

class WatchedDisk {
  constructor(private readonly folder: WatchedFolder) {}

  openSync(path: string, mode: string | number = 'r', permissions?: number): number {
    const flags = typeof mode === 'number' ? mode : MODES[mode]!;
    const before = fs.lstatSync(path, { throwIfNoEntry: false });
    const target = this.folder.at(path, before?.isDirectory());
    const creates = (flags & O_CREAT) !== 0 && before === undefined;
    this.folder.before(target, creates ? 'create' : 'open', 'open');
    const fd = fs.openSync(path, flags, permissions);
    if (creates) this.folder.made('create', target);
    else if ((flags & O_TRUNC) !== 0 && before !== undefined && before.size > 0) this.folder.truncated(target, fd, 0);
    return fd;
  }

  closeSync(fd: number): void {
    fs.closeSync(fd);
  }

  readSync(fd: number, into: NodeJS.ArrayBufferView, at?: number, length?: number, position?: number | null): number {
    this.folder.before(this.folder.of(fd), 'read', 'read');
    return fs.readSync(fd, into, at ?? 0, length ?? into.byteLength, position ?? null);
  }

  /** (fd, bytes, start, length, position) or (fd, text, position). */
  writeSync(fd: number, data: Uint8Array | string, start = 0, length?: number, position?: number | null): number {
    const target = this.folder.of(fd);
    this.folder.before(target, 'write', 'write');
    const bytes = typeof data === 'string' ? Buffer.from(data) : data.subarray(start, start + (length ?? data.length));
    const at = typeof data === 'string' ? start : position;
    const written = fs.writeSync(fd, bytes, 0, bytes.length, at);
    this.folder.wrote(target, fd, bytes.subarray(0, written), at ?? offsetOf(fd) - written);
    return written;
  }

  ftruncateSync(fd: number, size = 0): void {
    const target = this.folder.of(fd);
    this.folder.before(target, 'truncate', 'ftruncate');
    fs.ftruncateSync(fd, size);
    this.folder.truncated(target, fd, size);
  }

  fsyncSync(fd: number): void {
    this.sync(fd, fs.fsyncSync);
  }

  fdatasyncSync(fd: number): void {
    this.sync(fd, fs.fdatasyncSync);
  }

  fsync(fd: number, done: (error: Error | null) => void): void {
    this.syncLater(fd, done, fs.fsync, 'fsync');
  }

  fdatasync(fd: number, done: (error: Error | null) => void): void {
    this.syncLater(fd, done, fs.fdatasync, 'fdatasync');
  }

  private syncLater(
    fd: number,
    done: (error: Error | null) => void,
    call: typeof fs.fsync | typeof fs.fdatasync,
    name: 'fsync' | 'fdatasync',
  ): void {
    const target = this.folder.of(fd);
    let synced: () => void;
    try {
      if (this.folder.before(target, 'sync', name) === 'skip') return void setImmediate(done, null);
      synced = this.folder.syncing(target, fd);
    } catch (error) {
      return void setImmediate(done, error as Error);
    }
    call(fd, (error) => {
      if (error === null) synced();
      done(error);
    });
  }

  private sync(fd: number, call: (fd: number) => void): void {
    const target = this.folder.of(fd);
    if (this.folder.before(target, 'sync', 'fsync') === 'skip') return;
    const synced = this.folder.syncing(target, fd);
    call(fd);
    synced();
  }

  readFileSync(path: string, options?: BufferEncoding): string | Buffer {
    this.folder.before(this.folder.at(path), 'read', 'read');
    return fs.readFileSync(path, options);
  }

  writeFileSync(file: string | number, content: string | Uint8Array, options?: { flag?: string; mode?: number }): void {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const fd = typeof file === 'number' ? file : this.openSync(file, options?.flag ?? 'w', options?.mode);
    try {
      for (let at = 0; at < bytes.length; ) at += this.writeSync(fd, bytes, at, bytes.length - at, null);
    } finally {
      if (typeof file !== 'number') this.closeSync(fd);
    }
  }

  copyFileSync(from: string, to: string, mode?: number): void {
    const target = this.folder.at(to);
    const before = fs.lstatSync(to, { throwIfNoEntry: false });
    this.folder.before(this.folder.at(from), 'read', 'copyfile');
    this.folder.before(target, before === undefined ? 'create' : 'open', 'copyfile');
    this.folder.before(target, 'write', 'copyfile');
    fs.copyFileSync(from, to, mode);
    const fd = fs.openSync(to, 'r');
    try {
      if (before === undefined) this.folder.made('create', target);
      else this.folder.truncated(target, fd, 0);
      this.folder.wrote(target, fd, fs.readFileSync(fd), 0);
    } finally {
      fs.closeSync(fd);
    }
  }

  renameSync(from: string, to: string): void {
    const source = this.folder.at(from, isFolder(from));
    this.folder.before(source, 'rename', 'rename');
    fs.renameSync(from, to);
    this.folder.renamed(source, this.folder.at(to));
  }

  linkSync(from: string, to: string): void {
    const target = this.folder.at(to);
    this.folder.before(this.folder.at(from), 'link', 'link');
    fs.linkSync(from, to);
    this.folder.made('link', target);
  }

  symlinkSync(content: string, path: string): void {
    const target = this.folder.at(path);
    this.folder.before(target, 'link', 'symlink');
    fs.symlinkSync(content, path);
    this.folder.madeLink(target, content);
  }

  unlinkSync(path: string): void {
    const target = this.folder.at(path);
    this.folder.before(target, 'unlink', 'unlink');
    fs.unlinkSync(path);
    this.folder.removed('unlink', target);
  }

  mkdirSync(path: string, options?: number | { recursive?: boolean; mode?: number }): string | undefined {
    const { recursive = false, mode } = typeof options === 'object' ? options : { mode: options };
    if (recursive && fs.existsSync(path)) return undefined;
    const above = recursive && !fs.existsSync(join(path, '..')) ? this.mkdirSync(join(path, '..'), options) : undefined;
    const target = this.folder.at(path, true);
    this.folder.before(target, 'mkdir', 'mkdir');
    fs.mkdirSync(path, { mode });
    this.folder.made('mkdir', target);
    return above ?? path;
  }

  rmdirSync(path: string): void {
    const target = this.folder.at(path, true);
    this.folder.before(target, 'rmdir', 'rmdir');
    fs.rmdirSync(path);
    this.folder.removed('rmdir', target);
  }

  rmSync(path: string, options: { recursive?: boolean; force?: boolean } = {}): void {
    const stat = fs.lstatSync(path, { throwIfNoEntry: options.force !== true });
    if (stat === undefined) return;
    if (stat.isDirectory() && options.recursive === true) {
      for (const name of fs.readdirSync(path)) this.rmSync(join(path, name), options);
      this.rmdirSync(path);
    } else this.unlinkSync(path);
  }

  readdirSync(path: string, options?: { withFileTypes: true }): string[] | fs.Dirent[] {
    this.folder.before(this.folder.at(path, true), 'list', 'scandir');
    return options === undefined ? fs.readdirSync(path) : fs.readdirSync(path, options);
  }

  chmodSync(path: string, mode: number): void {
    this.folder.before(this.folder.at(path, isFolder(path)), 'change', 'chmod');
    fs.chmodSync(path, mode);
  }

  fchmodSync(fd: number, mode: number): void {
    this.folder.before(this.folder.of(fd), 'change', 'fchmod');
    fs.fchmodSync(fd, mode);
  }

  fchownSync(fd: number, uid: number, gid: number): void {
    this.folder.before(this.folder.of(fd), 'change', 'fchown');
    fs.fchownSync(fd, uid, gid);
  }

  lchownSync(path: string, uid: number, gid: number): void {
    this.folder.before(this.folder.at(path, isFolder(path)), 'change', 'lchown');
    fs.lchownSync(path, uid, gid);
  }

  futimesSync(fd: number, atime: number, mtime: number): void {
    this.folder.before(this.folder.of(fd), 'change', 'futimes');
    fs.futimesSync(fd, atime, mtime);
  }

  lutimesSync(path: string, atime: number, mtime: number): void {
    this.folder.before(this.folder.at(path, isFolder(path)), 'change', 'lutimes');
    fs.lutimesSync(path, atime, mtime);
  }
}

function laterOf(disk: WatchedDisk): Later {
  return {
    open: async (path, flags) => new WatchedFile(disk, disk.openSync(path, flags)),
    copyFile: async (from, to, mode) => disk.copyFileSync(from, to, mode),
    mkdir: async (path, options) => disk.mkdirSync(path, options),
    rename: async (from, to) => disk.renameSync(from, to),
    rm: async (path, options) => disk.rmSync(path, options),
    writeFile: async (path, content) => disk.writeFileSync(path, content),
  };
}

class WatchedFile implements LaterFile {
  constructor(
    private readonly disk: WatchedDisk,
    private readonly fd: number,
  ) {}

  async read(into: Uint8Array, at: number, length: number): Promise<{ bytesRead: number }> {
    return { bytesRead: this.disk.readSync(this.fd, into, at, length, null) };
  }

  async writeFile(bytes: Uint8Array): Promise<void> {
    this.disk.writeFileSync(this.fd, bytes);
  }

  async sync(): Promise<void> {
    this.disk.fsyncSync(this.fd);
  }

  async close(): Promise<void> {
    this.disk.closeSync(this.fd);
  }
}

const isFolder = (path: string): boolean => fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** Where the next write of a descriptor goes. */
function offsetOf(fd: number): number {
  return Number(/^pos:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]);
}

/** Of files that SQLite itself changed here: as if they had been written whole, and synced. */
export function wroteBySqlite(folder: WatchedFolder, path: string, before: ReadonlySet<string>): void {
  for (const each of ['', '-journal', '-wal', '-shm'].map((suffix) => path + suffix)) {
    const target: Target | undefined = folder.at(each);
    if (!fs.existsSync(each)) {
      if (before.has(each)) folder.removed('unlink', target);
      continue;
    }
    if (!before.has(each)) folder.made('create', target);
    const fd = fs.openSync(each, 'r');
    try {
      const content = fs.readFileSync(fd);
      folder.wrote(target, fd, content, 0);
      folder.truncated(target, fd, content.length);
      folder.syncing(target, fd)();
    } finally {
      fs.closeSync(fd);
    }
  }
}
