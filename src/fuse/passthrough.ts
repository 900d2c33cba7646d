import type { NodeTable, RegularFile } from './nodes.js';
import { type Ioctl, SystemCalls } from './system-calls.js';
import type { Watcher } from './watcher.js';

/** `_IOW(229, 1, struct fuse_backing_map)`: 0 i32 fd  4 u32 flags  8 u64 padding. Returns the backing file's number, from 1. */
const BACKING_OPEN = 0x4010_e501;
/** `_IOW(229, 2, uint32_t)` */
const BACKING_CLOSE = 0x4004_e502;
const ARGUMENT_BYTES = 16;

/**
 * Files that the kernel reads, writes and maps on their backing files by itself (FUSE_PASSTHROUGH, Linux 6.9 and newer):
 * as fast as without a mount, and nobody is told. The watcher says which. The kernel wants one backing file for all
 * handles of a file, and none beside handles that ask us; so a file is passed on from its first handle, or not at all.
 * The number that the kernel knows it by is valid until the mount ends, and is in the log of nodes before it is used:
 * whoever takes over goes on with it.
 */
export class Passthrough {
  private readonly argument = Buffer.alloc(ARGUMENT_BYTES);

  constructor(
    private readonly deviceFd: number,
    private readonly ioctl: Ioctl,
    private readonly table: NodeTable,
    private readonly watcher: Watcher,
  ) {
    // Handles that are open keep what they need.
    table.onPassedEnd = (id) => this.close(id);
  }

  /** By the npm package koffi, since Node.js has no ioctl; undefined where that cannot be loaded. */
  static load(deviceFd: number, table: NodeTable, watcher: Watcher): Passthrough | undefined {
    const calls = SystemCalls.load();
    return calls === undefined ? undefined : new Passthrough(deviceFd, calls.ioctl, table, watcher);
  }

  /**
   * For a handle of the file, which is counted already: its backing file's number; 0 if the kernel is to ask us, -1 if it
   * cannot be opened.
   */
  backingOf(file: RegularFile): number {
    if (file.passed) return file.backingId;
    // Handles that ask us are open: a file that was renamed while it was in use.
    if (file.inherited || file.handles > 1) return 0;
    const id = this.pass(file);
    return id === 0 && this.watcher.mustPass?.(file) === true ? -1 : id;
  }

  private pass(file: RegularFile): number {
    if (this.watcher.mayPass?.(file) !== true) return 0;
    this.argument.fill(0);
    this.argument.writeInt32LE(file.fd(), 0);
    const id = this.ioctl(this.deviceFd, BACKING_OPEN, this.argument);
    // EPERM; ELOOP where the data folder is on a stacked file system; ENOMEM.
    if (id <= 0) return 0;
    try {
      this.table.pass(file, id);
    } catch {
      this.close(id);
      return 0;
    }
    return id;
  }

  /** The mount is gone: only handles that are still open keep backing files now. */
  closeAll(): void {
    for (const node of this.table.all()) if (node.kind === 'file' && node.passed) this.close(node.backingId);
  }

  private close(id: number): void {
    this.argument.writeUInt32LE(id, 0);
    this.ioctl(this.deviceFd, BACKING_CLOSE, this.argument);
  }
}
