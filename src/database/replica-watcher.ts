import { type FileNode, type LockFileFacts, PROCEED, type Verdict, type Watcher } from '../fuse/index.js';
import { companionOf } from '../sqlite/index.js';
import type { SharedState } from './shared.js';
import { VirtualFiles } from './virtual-files.js';
import type { ToWorker } from './worker-messages.js';

const EROFS = 30;
const O_ACCMODE = 3;
const O_TRUNC = 0x200;
const NOTHING: readonly number[] = [];

export interface ReplicaWatcherOptions {
  readonly shared: SharedState;
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  readonly receive: () => ToWorker | undefined;
}

/**
 * A replica's watcher: only the applier changes files. An application that opens a database read-write is answered
 * EROFS, upon which SQLite opens it read-only by itself: reads work, a write says "attempt to write a readonly database".
 * The -shm stays writable, because readers keep their marks in it.
 */
export class ReplicaWatcher implements Watcher {
  protected readonly shared: SharedState;
  protected readonly slots = new Map<string, number>();
  protected readonly virtualFiles: VirtualFiles;

  constructor(protected readonly options: ReplicaWatcherOptions) {
    this.shared = options.shared;
    for (const { name, slot } of options.databases) this.slots.set(name, slot);
    this.virtualFiles = new VirtualFiles(this.shared, (name) => this.slots.get(name));
  }

  added(node: FileNode, _created?: boolean): void {
    node.tag = companionOf(node.path)?.kind;
  }

  removed(_node: FileNode): void {}

  renamed(node: FileNode, _oldPath?: string): void {
    this.added(node);
  }

  mayOpen(node: FileNode, flags: number, pid: number): Verdict {
    if ((flags & (O_ACCMODE | O_TRUNC)) === 0 || node.tag === 'shm') return PROCEED;
    return this.isApplier(pid) ? PROCEED : EROFS;
  }

  mayCreate(_path: string, pid: number): Verdict {
    return this.isApplier(pid) ? PROCEED : EROFS;
  }

  mayWrite(node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, pid: number): Verdict {
    return node.tag === 'shm' || this.isApplier(pid) ? PROCEED : EROFS;
  }

  wrote(_node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, _pid: number): void {}

  mayResize(node: FileNode, _size: number, pid: number): Verdict {
    return node.tag === 'shm' || this.isApplier(pid) ? PROCEED : EROFS;
  }

  resized(_node: FileNode, _size: number, _pid: number): void {}

  mayUnlink(_node: FileNode, pid: number): Verdict {
    return this.isApplier(pid) ? PROCEED : EROFS;
  }

  mayRename(_oldPath: string, _newPath: string, _replaced: FileNode | undefined, pid: number): Verdict {
    return this.isApplier(pid) ? PROCEED : EROFS;
  }

  /** Who owns a copy is this machine's own matter: the primary does not say. */
  maySetAttributes(): Verdict {
    return PROCEED;
  }

  mayChange(_path: string, pid: number): Verdict {
    return this.isApplier(pid) ? PROCEED : EROFS;
  }

  released(): void {}

  alsoSync(): readonly number[] {
    return NOTHING;
  }

  alsoSyncFolder(): readonly number[] {
    return NOTHING;
  }

  virtual(path: string): Buffer | undefined {
    this.takeMessages();
    return this.virtualFiles.content(path);
  }

  /** Where nobody writes, there is nothing to lock. */
  lockFile(path: string): LockFileFacts | undefined {
    const like = this.virtualFiles.lockedBy(path);
    return like === undefined ? undefined : { like, mayWrite: EROFS };
  }

  hidden(name: string): boolean {
    return this.virtualFiles.isHidden(name);
  }

  woken(): void {
    this.takeMessages();
  }

  protected isApplier(pid: number): boolean {
    return this.shared.isApplier(pid);
  }

  protected take(message: ToWorker): void {
    if (message.kind === 'primary') this.virtualFiles.primary = message.address;
    else if (message.kind !== 'slot') return;
    else if (message.slot === undefined) this.slots.delete(message.name);
    else this.slots.set(message.name, message.slot);
  }

  private takeMessages(): void {
    for (let message = this.options.receive(); message !== undefined; message = this.options.receive()) {
      this.take(message);
    }
  }
}
