import { type Backing, backingPath, type Result, refusal, watcherOf } from './backing.js';
import { EEXIST, EINVAL, EISDIR, ENOENT, EPERM, ESTALE } from './errno.js';
import { type AttributeChange, type FileOperations, NO_CHANGE } from './files.js';
import { ANSWERED_LATER, type Answer, type LibfuseParts } from './libfuse-parts.js';
import type { NameOperations } from './names.js';
import { callerOf, callerPid, wantedMtimeMs } from './native-binding.js';
import { NativeStat } from './native-stat.js';
import type { Node, VirtualFile } from './nodes.js';
import { OpenHandles } from './open-handles.js';
import type { PathNodes } from './path-nodes.js';
import type { PoolSyncer } from './pool-syncer.js';
import * as p from './protocol.js';
import { VirtualViews } from './virtual-views.js';
import { DEFER, PROCEED } from './watcher.js';

const TWO_32 = 0x1_0000_0000;
const EMPTY = Buffer.alloc(0);
const O_RDWR = 2;
/** An id that is to stay, in chown. */
const UNCHANGED = 0xffff_ffff;

/** Requests about one file, at a path or open. Their arguments are those of fuse-native's handlers. */
export class LibfuseFiles {
  readonly #backing: Backing;
  readonly #files: FileOperations;
  readonly #names: NameOperations;
  readonly #paths: PathNodes;
  readonly #syncer: PoolSyncer;
  readonly #handles = new OpenHandles();
  readonly #stat = new NativeStat();
  /** Of writes that are made and wait for their answer: how much they wrote. */
  readonly #written = new WeakMap<Buffer, number>();
  readonly #views = new VirtualViews(() => performance.now());

  constructor(parts: LibfuseParts) {
    this.#backing = parts.backing;
    this.#files = parts.operations;
    this.#names = parts.names;
    this.#paths = parts.paths;
    this.#syncer = parts.syncer;
    const { on } = parts;
    const stat: Answer = (signal, record, result) => signal(record, result, this.#stat.words);
    // Look-ups are these too.
    on('getattr', p.FUSE_GETATTR, (_record, path: string) => this.#attributesAt(path), stat);
    on('fgetattr', p.FUSE_GETATTR, (_record, _path: string, handle: number) => this.#attributesOf(handle), stat);
    on('open', p.FUSE_OPEN, (record, path: string, flags: number) => this.#open(record, path, flags), answerHandle);
    on('create', p.FUSE_CREATE, (record, path: string, mode: number) => this.#create(record, path, mode), answerHandle);
    on('mknod', p.FUSE_MKNOD, (record, path: string, mode: number) => this.#make(record, path, mode));
    on('read', p.FUSE_READ, (_record, ...args: DataArguments) => this.#read(...args), answerData);
    on('write', p.FUSE_WRITE, (record, ...args: DataArguments) => this.#write(record, ...args), answerData);
    on('release', p.FUSE_RELEASE, (_record, _path: string, handle: number) => this.#release(handle));
    on('truncate', p.FUSE_SETATTR, (record, path: string, low: number, high: number) =>
      this.#resize(record, this.#paths.node(path), whole(low, high)),
    );
    on('ftruncate', p.FUSE_SETATTR, (record, _path: string, handle: number, low: number, high: number) =>
      this.#resize(record, this.#handles.get(handle)?.node ?? -ESTALE, whole(low, high)),
    );
    on('chmod', p.FUSE_SETATTR, (record, path: string, mode: number) => this.#change(record, path, { mode }));
    on('chown', p.FUSE_SETATTR, (record, path: string, uid: number, gid: number) =>
      this.#change(record, path, { uid: given(uid), gid: given(gid) }),
    );
    on('utimens', p.FUSE_SETATTR, (record, path: string, low: number, high: number) => {
      const atimeMs = whole(low, high);
      return this.#change(record, path, { atime: atimeMs / 1000, mtime: wantedMtimeMs(record, atimeMs) / 1000 });
    });
    let target = '';
    on(
      'readlink',
      p.FUSE_READLINK,
      (_record, path: string) => {
        const node = this.#paths.node(path);
        if (typeof node === 'number') return node;
        if (node.kind !== 'other') return -EINVAL;
        target = this.#files.readLink(node).toString();
        return 0;
      },
      (signal, record, result) => signal(record, result, target),
    );
    this.#registerSync(parts);
  }

  #registerSync({ on, native }: LibfuseParts): void {
    const fileDone = native.signal('fsync');
    on('fsync', p.FUSE_FSYNC, (record, _path: string, dataOnly: number, handle: number) => {
      const node = this.#handles.get(handle)?.node;
      if (node?.kind !== 'file') return -EINVAL;
      const fds = [node.fd(), ...watcherOf(this.#backing, node).alsoSync(node)];
      this.#syncer.files(fds, dataOnly !== 0, (errno) => fileDone(record, -errno));
      return ANSWERED_LATER;
    });
    const folderDone = native.signal('fsyncdir');
    on('fsyncdir', p.FUSE_FSYNCDIR, (record, path: string) => {
      const folder = this.#paths.asFolder(path);
      if (typeof folder === 'number') return folder;
      const also = [...this.#backing.watcher.alsoSyncFolder(folder.path)];
      this.#syncer.folder(backingPath(this.#backing, folder), also, (errno) => folderDone(record, -errno));
      return ANSWERED_LATER;
    });
  }

  #attributesAt(path: string): Result {
    const hidden = this.#paths.hidden(path);
    if (hidden !== undefined) return this.#attributes(hidden);
    if (path === '/') return this.#attributes(this.#backing.table.root);
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    const result = this.#names.lookup(folder, this.#paths.name);
    if (result < 0) return result;
    const { node, attributes } = this.#names;
    this.#tell(node, attributes);
    return 0;
  }

  #attributesOf(handle: number): Result {
    const node = this.#handles.get(handle)?.node;
    return node === undefined ? -ESTALE : this.#attributes(node);
  }

  #attributes(node: Node): Result {
    const result = this.#files.attributes(node);
    if (result === 0) this.#tell(node, this.#files.found);
    return result;
  }

  #tell(node: Node, found: FileOperations['found']): void {
    const size = node.kind === 'virtual' ? this.#views.size(node.path, this.#contentOf(node)) : found.size;
    this.#stat.fill(found, node.id, size, node.kind === 'file' && node.orphan ? 0 : found.nlink);
  }

  #contentOf(node: VirtualFile): Buffer {
    return this.#files.content(node) ?? EMPTY;
  }

  #open(record: Buffer, path: string, flags: number): Result {
    const node = this.#paths.node(path);
    if (typeof node === 'number') return node;
    if (node.kind === 'virtual') {
      const content = this.#files.content(node);
      if (content === undefined) return -ENOENT;
      if (!this.#views.mayOpen(node.path, callerPid(record), content)) return -ESTALE;
    }
    const { uid, pid } = callerOf(record);
    const result = this.#files.open(node, flags, uid, pid);
    return result < 0 ? result : this.#handles.add({ node, flags });
  }

  /** With which flags is not told: for reading and writing. */
  #create(record: Buffer, path: string, mode: number): Result {
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    const result = this.#names.createFile(folder, this.#paths.name, mode, callerOf(record));
    const { node } = this.#names;
    // It is no longer missing, as the kernel believed. Who wants a new one alone has asked for it just before.
    if (result === -EEXIST) return this.#open(record, path, O_RDWR);
    if (result < 0) return result;
    if (node.kind === 'file') this.#files.opened(node, O_RDWR);
    return this.#handles.add({ node, flags: O_RDWR });
  }

  /** Of special files there are none here. */
  #make(record: Buffer, path: string, mode: number): Result {
    const type = mode & p.S_IFMT;
    if (type !== p.S_IFREG && type !== 0) return -EPERM;
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    return this.#names.createFile(folder, this.#paths.name, mode, callerOf(record));
  }

  #read(_path: string, handle: number, data: Buffer, size: number, low: number, high: number): Result {
    const node = this.#handles.get(handle)?.node;
    if (node === undefined) return -ESTALE;
    if (node.kind === 'virtual') this.#views.read(node.path, this.#contentOf(node));
    return this.#files.read(node, data, 0, size, whole(low, high));
  }

  /** libfuse takes its buffer back with the answer, so the watcher looks at the bytes before. */
  #write(record: Buffer, _path: string, handle: number, data: Buffer, size: number, low: number, high: number): Result {
    const node = this.#handles.get(handle)?.node;
    if (node === undefined) return -ESTALE;
    const [position, pid] = [whole(low, high), callerPid(record)];
    const made = this.#written.get(record);
    const written = made ?? this.#files.write(node, position, data, 0, size, pid);
    if (written <= 0 || node.kind !== 'file') return written;
    const watcher = watcherOf(this.#backing, node);
    if (made === undefined) watcher.wrote(node, position, data, 0, written, pid);
    if (watcher.awaits?.(node) !== true) return written;
    const verdict = watcher.mayAnswer?.(node, position, written) ?? PROCEED;
    if (verdict === DEFER) this.#written.set(record, written);
    else this.#written.delete(record);
    return verdict === PROCEED ? written : refusal(verdict);
  }

  #release(number: number): Result {
    const handle = this.#handles.remove(number);
    if (handle?.node.kind === 'file') this.#files.release(handle.node, handle.flags, true);
    return 0;
  }

  #resize(record: Buffer, node: Node | Result, size: number): Result {
    if (typeof node === 'number') return node;
    if (node.kind === 'virtual') return -EPERM;
    return node.kind === 'file' ? this.#files.resize(node, size, callerPid(record)) : -EISDIR;
  }

  #change(record: Buffer, path: string, change: Partial<AttributeChange>): Result {
    const node = this.#paths.node(path);
    return typeof node === 'number' ? node : this.#files.change(node, { ...NO_CHANGE, ...change }, callerPid(record));
  }
}

/** Path, handle, buffer, size, and the position's lower and upper half. */
type DataArguments = [string, number, Buffer, number, number, number];

/** The result is a handle's number. */
const answerHandle: Answer = (signal, record, result) => signal(record, Math.min(result, 0), Math.max(result, 0));

/** The buffer is libfuse's again. */
const answerData: Answer = (signal, record, result, args) => signal(record, result, 0, (args[2] as Buffer).buffer);

const whole = (low: number, high: number): number => low + high * TWO_32;

const given = (id: number): number | undefined => (id === UNCHANGED ? undefined : id);
