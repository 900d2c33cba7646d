import { mkdirSync, rmSync } from '../disk/index.js';
import { describeError, SluiceError } from '../errors.js';
import { type Backing, DEFERRED, type Result } from './backing.js';
import { Descriptors } from './descriptors.js';
import { EAGAIN, errnoOf, isSystemError } from './errno.js';
import { FileOperations } from './files.js';
import { KernelLocks } from './kernel-locks.js';
import { LibfuseFiles } from './libfuse-files.js';
import { LibfuseNames } from './libfuse-names.js';
import { ANSWERED_LATER, type Answer, type LibfuseParts } from './libfuse-parts.js';
import { mountAt } from './mount-table.js';
import { NameOperations } from './names.js';
import { FuseNative, type Handler, hasCaller, type Operation } from './native-binding.js';
import { NodeTable } from './nodes.js';
import { PathNodes } from './path-nodes.js';
import { PoolSyncer } from './pool-syncer.js';
import { DEFERRED as DEFERRED_WORD, OPCODES, SERVING, SERVING_ENDED, SERVING_STATE } from './shared.js';
import { Bursts } from './wakeups.js';
import type { Watcher } from './watcher.js';

/** What serving by libfuse needs. It mounts too, so there must be no mount at `path`. */
export interface LibfuseOptions {
  /** The mount point, a real path. */
  readonly path: string;
  /** What `mount` and `df` show as the source. */
  readonly name: string;
  /** Folder that holds the real files. Must exist. */
  readonly backing: string;
  /** Folder for this mount's `orphans/`, on the same file system as `backing`, outside it. */
  readonly run: string;
  readonly watcher: Watcher;
  /** From `createShared`. */
  readonly shared: SharedArrayBuffer;
  /** Other users may use it, as their permissions say. */
  readonly allowOther: boolean;
  /** The watcher needs to know who makes a request. */
  readonly needsCaller: boolean;
  readonly log?: ((message: string) => void) | undefined;
  readonly maxOpenFiles?: number | undefined;
  /** For tests: requests that wait for a wake-up at most. */
  readonly maxDeferred?: number | undefined;
}

const MAX_OPEN_FILES = 512;
/** Requests that wait for a wake-up at most; each holds a thread of libfuse. Beyond, a request is answered EAGAIN. */
const MAX_DEFERRED = 4096;
/** How soon it is seen that the mount is gone: libfuse does not tell. */
const MOUNTED_POLL_MS = 200;

/**
 * Nothing changes a file but through the mount, so names and attributes are kept long. Missing names are not: `.primary`
 * and `<db>-pos` come without the kernel knowing, and libfuse has one time for all.
 */
const CACHED = ['kernel_cache', 'entry_timeout=86400', 'attr_timeout=86400', 'negative_timeout=1'];
/** `use_ino`: the kernel's list of locks names files by the numbers that we give. */
const OPTIONS = ['default_permissions', 'use_ino', 'big_writes', 'atomic_o_trunc', ...CACHED];

/** A request that waits for a wake-up. */
interface Task {
  readonly run: () => Result;
  readonly answer: (result: Result) => void;
}

/**
 * One mount, served by libfuse's threads, which each wait for this process's main thread. So nothing on that may wait for
 * the mount. Handlers are added by libfuse-files.ts and libfuse-names.ts.
 */
export class LibfuseServer {
  /** Resolves when the mount is gone. */
  readonly ended: Promise<void>;
  readonly #o: LibfuseOptions;
  readonly #native: FuseNative;
  readonly #words: Int32Array;
  readonly #bursts: Bursts;
  readonly #descriptors: Descriptors;
  /** Once it is mounted. */
  #locks: KernelLocks | undefined;
  #deferred: Task[] = [];
  #waking = false;
  #failed: ((error: Error) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: LibfuseOptions, native: FuseNative) {
    this.#o = options;
    this.#native = native;
    this.#words = new Int32Array(options.shared);
    this.#bursts = new Bursts(options.shared);
    const orphans = `${options.run}/orphans`;
    rmSync(orphans, { recursive: true, force: true });
    mkdirSync(orphans, { recursive: true, mode: 0o700 });
    const syncer = new PoolSyncer();
    const maxOpenFiles = options.maxOpenFiles ?? MAX_OPEN_FILES;
    this.#descriptors = new Descriptors(options.backing, orphans, maxOpenFiles, (fd) => syncer.inUse(fd));
    const table = new NodeTable(this.#descriptors);
    const backing: Backing = {
      folder: options.backing,
      table,
      descriptors: this.#descriptors,
      watcher: options.watcher,
    };
    const operations = new FileOperations(backing);
    const names = new NameOperations(backing);
    const paths = new PathNodes(backing, names);
    const handlers = new Map<Operation, Handler>();
    const on: LibfuseParts['on'] = (operation, opcode, run, answer = PLAIN) => {
      const signal = native.signal(operation);
      const runAny = run as (record: Buffer, ...args: readonly unknown[]) => Result;
      handlers.set(operation, (record, ...args) => {
        this.#bursts.request();
        this.#words[OPCODES + opcode]!++;
        this.#present({ run: () => runAny(record, ...args), answer: (result) => answer(signal, record, result, args) });
      });
    };
    options.watcher.serving?.({
      isWriteLocked: (node, first, last) => this.#locks?.isWriteLocked(node.id, first, last) ?? true,
    });
    const parts: LibfuseParts = { native, backing, operations, names, paths, syncer, on };
    new LibfuseFiles(parts);
    new LibfuseNames(parts);
    handlers.set('init', (record) => this.#began(record));
    this.ended = new Promise((resolve, reject) => {
      this.#failed = reject;
      this.#mount(handlers);
      this.#timer = setInterval(() => {
        if (mountAt(options.path) !== undefined) return;
        this.#close();
        resolve();
      }, MOUNTED_POLL_MS);
    });
    this.ended.catch(() => undefined);
  }

  /** Mounts and serves. SluiceErrors: `LIBFUSE_LOAD`, `MOUNT_FAILED`; `ended` rejects with `LIBFUSE_CALLER`. */
  static start(options: LibfuseOptions): LibfuseServer {
    return new LibfuseServer(options, FuseNative.load());
  }

  /** Tells the watcher, then presents all deferred requests again, in order; later. Never throws. */
  wake(): void {
    if (this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      try {
        this.#o.watcher.woken();
      } catch (error) {
        this.#report(error);
      }
      const again = this.#deferred;
      this.#deferred = [];
      this.#words[DEFERRED_WORD] = 0;
      for (const task of again) this.#present(task);
    });
  }

  #mount(handlers: ReadonlyMap<Operation, Handler>): void {
    const { path, name, allowOther } = this.#o;
    const options = [...OPTIONS, `fsname=${name}`, ...(allowOther ? ['allow_other'] : [])];
    try {
      this.#native.mount(path, options, handlers);
      const connection = mountAt(path)?.connection;
      if (connection !== undefined) this.#locks = new KernelLocks(connection);
    } catch (cause) {
      throw new SluiceError(
        'MOUNT_FAILED',
        `Mounting at ${path} by libfuse failed (its own words are in the lines above)`,
        'Check that this user may mount FUSE file systems: sluice doctor',
        { cause },
      );
    }
  }

  #began(record: Buffer): void {
    if (this.#o.needsCaller && !hasCaller(record)) {
      const text = 'fuse-native was built so that it does not tell who makes a request, which a replica has to know';
      this.#failed?.(new SluiceError('LIBFUSE_CALLER', text, 'Build it by npm start in the tree, or run as root'));
    } else Atomics.store(this.#words, SERVING_STATE, SERVING);
    this.#native.signal('init')(record, 0);
  }

  #present(task: Task): void {
    let result: Result;
    try {
      result = task.run();
    } catch (error) {
      result = -errnoOf(error);
      if (!isSystemError(error)) this.#report(error);
    }
    if (result === DEFERRED) {
      if (this.#deferred.length < (this.#o.maxDeferred ?? MAX_DEFERRED)) {
        this.#deferred.push(task);
        this.#words[DEFERRED_WORD] = this.#deferred.length;
        return;
      }
      result = -EAGAIN;
    }
    if (result !== ANSWERED_LATER) task.answer(result);
  }

  #report(error: unknown): void {
    this.#o.log?.(`file system: a request failed: ${error instanceof Error ? error.stack : describeError(error)}`);
  }

  #close(): void {
    clearInterval(this.#timer);
    Atomics.store(this.#words, SERVING_STATE, SERVING_ENDED);
    this.#descriptors.closeAll();
  }
}

const PLAIN: Answer = (signal, record, result) => signal(record, result);
