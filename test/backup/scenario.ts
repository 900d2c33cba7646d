import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as assert from 'uvu/assert';
import {
  Backup,
  type BackupOptions,
  openStore,
  restore,
  type S3Options,
  type StoreRoot,
} from '../../src/backup/index.js';
import { formatTxid } from '../../src/ltx/index.js';
import { startGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { type FakeDatabase, FakeDatabaseSet } from './fake-databases.js';
import { litestreamRestore, TestLog, type Workbench, withWorkbench } from './workbench.js';

export const RETRY_AT_ONCE = { retryMinMs: 20, retryMaxMs: 100 };

/** A place to back up to that can be looked at from outside. */
export interface Place {
  readonly url: string;
  /** What other programs need to get in. */
  readonly env: object;
  /** Where its objects are files. */
  readonly folder: string;
  /** With a key file: encrypted. */
  open(keyFile?: string): StoreRoot;
}

export interface BucketPlace extends Place {
  /** With other settings than the test's. */
  openWith(options: S3Options): StoreRoot;
}

export function folderPlace(bench: Workbench): Place {
  const folder = join(bench.folder, 'store');
  const url = pathToFileURL(folder).href;
  return { url, folder, env: {}, open: (keyFile) => openStore(url, {}, process.env, keyFile) };
}

/** Undefined if versitygw is not installed. With `endpoint`, requests go there, e.g. to a proxy. */
export async function bucketPlace(
  bench: Workbench,
  through?: (endpoint: string) => Promise<string>,
  limits?: S3Options['limits'],
): Promise<BucketPlace | undefined> {
  const gateway = await startGateway(bench.folder);
  if (gateway === undefined) return undefined;
  bench.onEnd(() => gateway.stop());
  const endpoint = through === undefined ? gateway.endpoint : await through(gateway.endpoint);
  const url = `s3://${gateway.bucket}/some/path?endpoint=${endpoint}&region=us-east-1&force-path-style=true`;
  const { credentials, env, folder } = gateway;
  const openWith = (options: S3Options, keyFile?: string): StoreRoot =>
    openStore(url, { credentials, ...options, limits: { ...limits, ...options.limits } }, process.env, keyFile);
  return { url, env, folder, open: (keyFile) => openWith({}, keyFile), openWith };
}

export function newSet(bench: Workbench): FakeDatabaseSet {
  mkdirSync(bench.folder, { recursive: true });
  const set = new FakeDatabaseSet(mkdtempSync(join(bench.folder, 'databases-')));
  bench.onEnd(() => set.close());
  return set;
}

export function startBackup(
  bench: Workbench,
  set: FakeDatabaseSet,
  place: Place,
  more: Partial<BackupOptions> = {},
): Backup {
  const options = {
    databases: set,
    store: place.open(),
    owner: 'node/1',
    intervalMs: 20,
    log: new TestLog(),
    limits: RETRY_AT_ONCE,
  };
  const backup = new Backup({ ...options, ...more });
  bench.onEnd(() => backup.stop());
  backup.start();
  return backup;
}

export async function untilStored(backup: Backup, name: string, txid: number): Promise<void> {
  const stored = (): string | undefined => backup.status().databases.find((db) => db.name === name)?.txid;
  await until(`${name} is stored up to ${txid}`, () => stored() === formatTxid(txid));
}

/** The status shows that `app.db` cannot be stored, and why. */
export async function untilFailing(backup: Backup, message: RegExp): Promise<void> {
  const seen = new Set<string | null>();
  const shows = (): boolean => {
    const { lastError } = backup.status();
    seen.add(lastError);
    return message.test(lastError ?? '');
  };
  await until(`status shows ${message}`, shows).catch((error: unknown) => {
    throw new Error(`${String(error)}, it showed ${[...seen].join('; ')}`);
  });
  assert.is(backup.problems()[0]?.code, 'BACKUP_FAILING');
  assert.is(backup.problems()[0]?.subject, 'app.db');
}

/** The newest state in the store is the database as it is. */
export async function expectRestored(bench: Workbench, place: Place, app: FakeDatabase): Promise<void> {
  const output = join(mkdtempSync(join(bench.folder, 'restored-')), 'restored.db');
  const result = await restore({ store: place.open().database(app.name), output });
  assert.is(result.txid, app.position.txid);
  assert.ok(readFileSync(output).equals(app.image), 'what is restored is the database as it is');
}

/** The real Litestream finds the same in the store; nothing is asked where it is not installed. */
export function expectLitestreamRestores(bench: Workbench, place: Place, app: FakeDatabase): void {
  const output = join(mkdtempSync(join(bench.folder, 'litestream-')), 'restored.db');
  if (!litestreamRestore(place.open().database(app.name).url, output, place.env)) return;
  assert.ok(readFileSync(output).equals(app.image), 'what Litestream restores is the database as it is');
}

/** Databases of which `app.db` is the only one, with its first transaction. */
export function newApp(bench: Workbench): { set: FakeDatabaseSet; app: FakeDatabase } {
  const set = newSet(bench);
  const app = set.create('app.db');
  app.write(CREATE);
  return { set, app };
}

/** What most tests begin with: `app.db` with its first transaction, and a folder to back it up to. */
export interface Scene {
  readonly bench: Workbench;
  readonly set: FakeDatabaseSet;
  readonly app: FakeDatabase;
  readonly place: Place;
}

export function withApp(body: (scene: Scene) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    await body({ bench, ...newApp(bench), place: folderPlace(bench) });
  });
}

/** A table `t`, in the first transaction. */
export const CREATE = 'create table t(id integer primary key, x)';

/** Rows that do not compress to nothing. */
export function insert(rows: number): string {
  return `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
    insert into t(x) select hex(randomblob(50)) from n`;
}

/**
 * A store that holds `app.db` with TXIDs 1 (snapshot), 2, 3-5 and 6-8, and the image after each of these ends.
 */
export async function filledStore(
  bench: Workbench,
  place: Place,
): Promise<{ set: FakeDatabaseSet; app: FakeDatabase; images: Map<number, Buffer> }> {
  const { set, app } = newApp(bench);
  const images = new Map<number, Buffer>();
  const backup = startBackup(bench, set, place, { intervalMs: 60_000 });
  for (const transactions of [0, 1, 3, 3]) {
    for (let i = 0; i < transactions; i++) app.write(insert(200));
    if (!(await backup.flush())) throw new Error(`not stored: ${backup.status().lastError}`);
    images.set(app.position.txid, app.image);
  }
  await backup.stop();
  return { set, app, images };
}
