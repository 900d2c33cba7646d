import { cpSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decodeManifest,
  encodeManifest,
  LEVEL_SNAPSHOT,
  type ManifestFile,
  openStore,
  type Store,
  type StoreRoot,
} from '../../src/backup/index.js';
import { mergeEntries } from '../../src/backup/merge.js';
import { DataFolder } from '../../src/database/data-folder.js';
import { ReplicaDatabases } from '../../src/database/replica-sink.js';
import { SharedState } from '../../src/database/shared.js';
import { type FeedLimits, StoreFeed } from '../../src/feed/index.js';
import type { FakeDatabase } from '../backup/fake-databases.js';
import { folderPlace } from '../backup/scenario.js';
import { TestLog, type Workbench } from '../backup/workbench.js';
import { FileApplier } from './file-applier.js';

const FAST: Partial<FeedLimits> = {
  folderNamesMs: 50,
  emptyMs: 20,
  listMs: 20,
  retryMinMs: 10,
  retryMaxMs: 50,
  drainMs: 500,
};

/** Uploads a database as a test says, and writes the manifest that goes with it. */
export class Uploader {
  readonly store: Store;
  generation = 1;
  owner = 'node/process';
  files: ManifestFile[] = [];
  private tag: string | undefined;

  constructor(
    root: StoreRoot,
    readonly db: FakeDatabase,
  ) {
    this.store = root.database(db.name);
  }

  /** The database as it is, in the place of all before it. */
  async snapshot(): Promise<void> {
    const snapshot = await this.db.snapshot();
    const bytes: Uint8Array[] = [];
    for await (const piece of snapshot.chunks()) bytes.push(piece);
    await this.put(LEVEL_SNAPSHOT, 1, this.db.position.txid, Buffer.concat(bytes));
    this.files = this.files.slice(-1);
  }

  /** The transactions from one to the newest, as one file. */
  async increment(minTxid: number, level = 0): Promise<void> {
    const entries = [];
    for (let txid = minTxid; txid <= this.db.position.txid; txid++) entries.push(this.db.log.get(txid)!);
    const { bytes } = await mergeEntries(entries);
    await this.put(level, minTxid, this.db.position.txid, bytes);
  }

  async put(level: number, minTxid: number, maxTxid: number, bytes: Uint8Array): Promise<void> {
    const timeMs = Date.now();
    await this.store.put({ level, minTxid, maxTxid, timestampMs: timeMs }, bytes);
    const { checksum } = this.db.position;
    this.files.push({ level, minTxid, maxTxid, sizeBytes: bytes.length, timeMs, checksum });
  }

  async publish(): Promise<void> {
    const { generation, owner, files } = this;
    const position = this.db.position;
    this.tag ??= await this.presentTag();
    const bytes = encodeManifest({ generation, owner, writtenMs: Date.now(), position, files });
    this.tag = await this.store.writeManifest(bytes, this.tag);
  }

  private async presentTag(): Promise<string | undefined> {
    const found = await this.store.readManifest();
    if (found === undefined || found === 'same') return undefined;
    decodeManifest(found.bytes);
    return found.tag;
  }
}

/** A replica without a mount: its data folder, its databases, and what follows the store. */
export class FedReplica {
  readonly folder: DataFolder;
  readonly applier: FileApplier;
  readonly sink: ReplicaDatabases;
  readonly log = new TestLog();
  readonly connections: boolean[] = [];
  readonly intervalMs = 20;
  feed: StoreFeed | undefined;

  constructor(readonly root: string) {
    this.folder = new DataFolder(root);
    this.applier = new FileApplier(this.folder.files);
    this.sink = new ReplicaDatabases({
      folder: this.folder,
      mountPath: '/mnt',
      shared: new SharedState(),
      applier: this.applier,
      send: () => undefined,
      onApplied: () => undefined,
      warn: () => undefined,
    });
  }

  static async start(bench: Workbench, store: StoreRoot, root?: string): Promise<FedReplica> {
    const replica = new FedReplica(root ?? mkdtempSync(join(bench.folder, 'replica-')));
    bench.onEnd(() => replica.stop());
    await replica.sink.recover(false);
    await replica.sink.resume();
    replica.follow(store);
    return replica;
  }

  follow(store: StoreRoot): void {
    this.feed = new StoreFeed({
      store,
      sink: this.sink,
      intervalMs: this.intervalMs,
      log: this.log,
      hooks: { connected: (connected) => this.connections.push(connected) },
      limits: FAST,
    });
    this.feed.start();
  }

  image(name: string): Buffer {
    return readFileSync(join(this.folder.files, name));
  }

  /** What a crash now would leave. */
  copy(bench: Workbench): string {
    const root = mkdtempSync(join(bench.folder, 'crashed-'));
    cpSync(this.root, root, { recursive: true });
    return root;
  }

  async stop(): Promise<void> {
    const { feed } = this;
    this.feed = undefined;
    if (feed === undefined) return;
    await feed.stop();
    this.sink.saveClean();
  }
}

/** The store of a test. */
export function openFolder(bench: Workbench): StoreRoot {
  return openStore(folderPlace(bench).url);
}
