import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CaptureWatcher } from '../../../src/database/capture-watcher.js';
import { DataFolder } from '../../../src/database/data-folder.js';
import { PrimaryDatabases } from '../../../src/database/primary-databases.js';
import type { Recovered } from '../../../src/database/recovery.js';
import { SharedState } from '../../../src/database/shared.js';
import type { FromWorker, ToWorker } from '../../../src/database/worker-messages.js';
import { DEFER, type FileNode, type Verdict } from '../../../src/fuse/index.js';

const LIMIT_MS = 10_000;
/** Main gets its turn between so many writes. */
const WRITES_PER_TURN = 8;

/** A file of the bench, as the file system has it. */
export class BenchFile implements FileNode {
  private static ids = 0;
  readonly id = ++BenchFile.ids;
  readonly handles = 1;
  writers = 1;
  readonly inherited = false;
  orphan = false;
  readonly passed = false;
  tag: unknown;
  private readonly descriptor: number;

  constructor(
    public path: string,
    backing: string,
  ) {
    this.descriptor = openSync(backing, existsSync(backing) ? 'r+' : 'w+');
  }

  fd(): number {
    return this.descriptor;
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/**
 * A primary without a mount: the watcher and main's side in one thread, on real files, told of each write as a file
 * system would. What is deferred is presented again when main wakes the worker.
 */
export class MountBench {
  readonly root: string;
  readonly folder: DataFolder;
  readonly shared: SharedState;
  readonly databases: PrimaryDatabases;
  readonly warnings: string[] = [];
  /** Messages of the watcher, in order. */
  readonly messages: FromWorker[] = [];
  watcher!: CaptureWatcher;
  deferrals = 0;
  private writes = 0;
  outcomes: readonly Recovered[] = [];
  /** What the kernel would have been told to cache. */
  readonly cached: { readonly path: string; readonly bytes: number }[] = [];
  canCache = true;
  private readonly inbox: ToWorker[] = [];
  private readonly files = new Map<string, BenchFile>();
  private wakers: (() => void)[] = [];

  /** On a fresh folder, or one that another bench left; `mountPath`: where applications would see its files; `slots`: databases at a time. */
  constructor(root?: string, mountPath?: string, slots?: number) {
    this.shared = new SharedState(slots === undefined ? undefined : { slots });
    this.root = root ?? mkdtempSync(join(tmpdir(), 'sluice-bench-'));
    this.folder = new DataFolder(this.root);
    this.databases = new PrimaryDatabases({
      folder: this.folder,
      shared: this.shared,
      mountPath: mountPath ?? join(this.root, 'mnt'),
      send: (message) => {
        this.inbox.push(message);
        this.wake();
      },
      wakeWorker: () => this.wake(),
      cache: (path, bytes) => this.canCache && this.cached.push({ path, bytes }) > 0,
      onWrite: () => undefined,
      onLogged: () => undefined,
      warn: (name, text, error) => this.warnings.push(`${name}: ${text}: ${String(error)}`),
    });
  }

  async start(live = false): Promise<this> {
    this.outcomes = await this.databases.recover(live);
    this.watcher = new CaptureWatcher({
      shared: this.shared,
      backing: this.folder.files,
      marks: this.folder.marks,
      databases: this.databases.slots(),
      send: (message) => {
        this.messages.push(message);
        // As a message between threads: later.
        setImmediate(() => this.databases.handle(message));
      },
      receive: () => this.inbox.shift(),
    });
    this.databases.begin();
    return this;
  }

  outcome(name: string): string | undefined {
    return this.outcomes.find((each) => each.name === name)?.outcome;
  }

  backing(path: string): string {
    return join(this.folder.files, path);
  }

  /** The file, looked up or created. */
  file(path: string): BenchFile {
    const known = this.files.get(path);
    if (known !== undefined) return known;
    const created = !existsSync(this.backing(path));
    const file = new BenchFile(path, this.backing(path));
    this.files.set(path, file);
    this.watcher.added(file, created);
    return file;
  }

  async write(path: string, position: number, data: Buffer): Promise<void> {
    const file = this.file(path);
    await this.allowed(() => this.watcher.mayWrite(file, position, data, 0, data.length, 1));
    writeSync(file.fd(), data, 0, data.length, position);
    this.watcher.wrote(file, position, data, 0, data.length, 1);
    if (++this.writes % WRITES_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
  }

  async resize(path: string, size: number): Promise<void> {
    const file = this.file(path);
    await this.allowed(() => this.watcher.mayResize(file, size));
    ftruncateSync(file.fd(), size);
    this.watcher.resized(file, size);
  }

  async unlink(path: string): Promise<void> {
    const file = this.file(path);
    await this.allowed(() => this.watcher.mayUnlink(file));
    unlinkSync(this.backing(path));
    this.files.delete(path);
    this.watcher.removed(file);
    file.close();
  }

  async rename(from: string, to: string): Promise<void> {
    const file = this.file(from);
    const replaced = this.files.get(to);
    await this.allowed(() => this.watcher.mayRename(from, to, replaced));
    renameSync(this.backing(from), this.backing(to));
    this.files.delete(from);
    if (replaced !== undefined) this.watcher.removed(replaced);
    replaced?.close();
    file.path = to;
    this.files.set(to, file);
    this.watcher.renamed(file, from);
  }

  /** The last writer closes it. */
  release(path: string): void {
    const file = this.file(path);
    file.writers = 0;
    this.watcher.released(file, true);
    file.writers = 1;
  }

  /** Position as `<db>-pos` has it. */
  position(name: string): string | undefined {
    return this.watcher.virtual(`${name}-pos`)?.toString().trim();
  }

  async quiet(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      await this.databases.idle();
    }
  }

  /** Ends it as a crash would (nothing is saved), or in order. The folder stays. */
  async stop(clean: boolean): Promise<void> {
    if (clean) {
      this.watcher.ended();
      await this.quiet();
      await this.databases.saveClean();
    }
    for (const file of this.files.values()) file.close();
    this.files.clear();
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  private async allowed(ask: () => Verdict): Promise<void> {
    const untilMs = performance.now() + LIMIT_MS;
    for (let verdict = ask(); verdict !== 0; verdict = ask()) {
      if (verdict !== DEFER) throw new Error(`refused with errno ${verdict}`);
      if (performance.now() > untilMs) throw new Error('deferred for too long');
      this.deferrals++;
      // The file system presents it again after a wake-up, and never without one.
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('deferred, and never woken')), LIMIT_MS);
        this.wakers.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  private wake(): void {
    setImmediate(() => {
      this.watcher?.woken();
      const wakers = this.wakers;
      this.wakers = [];
      for (const resume of wakers) resume();
    });
  }
}

/** Reads all of a file. */
export function contentOf(file: FileNode): Buffer {
  const bytes = Buffer.alloc(fstatSync(file.fd()).size);
  readSync(file.fd(), bytes, 0, bytes.length, 0);
  return bytes;
}
