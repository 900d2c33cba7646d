// Time limit: 12 min
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { megabytes, residentBytes } from '../e2e/memory.js';
import { processesOf } from '../e2e/nodes.js';
import { run } from '../e2e/programs.js';
import { type ClusterNode, startPair, stopAll, txidOf, waitFor, waitUntilSame } from '../support/cluster.js';
import { makeDeepFolder } from '../support/deep-folder.js';

/** Databases in folders: a database's name is its path. SLUICE_FIDELITY_DATABASES is how many one folder gets. */
const test = suite('fidelity: folders');

const MANY = Number(process.env.SLUICE_FIDELITY_DATABASES || 100);
const LIMIT_MS = 5 * 60_000;

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair());
});
test.after(stopAll);

const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

/** Adds a row; the database is in WAL mode if its name says so. */
function write(name: string): void {
  const db = new Sqlite(primary.path(name), { timeout: 10_000 });
  if (name.includes('wal')) db.pragma('journal_mode = wal');
  db.exec('CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (randomblob(500))');
  db.close();
}

const names = async (node: ClusterNode): Promise<string[]> =>
  (await node.status()).databases.map(({ name }) => name).sort();

/** Both nodes have these databases and no others, and the replica has no empty folders of former ones. */
async function haveOnly(wanted: readonly string[]): Promise<void> {
  for (const name of wanted) await same(name);
  for (const node of [primary, replica]) {
    await waitFor(
      async () => (await names(node)).join() === [...wanted].sort().join(),
      30_000,
      () => `${wanted.join()} alone\n${node.log.slice(-2000)}`,
    );
    assert.equal((await node.status()).problems, []);
  }
}

const count = (path: string): unknown => {
  const db = new Sqlite(path, { readonly: true, timeout: 10_000 });
  const found = db.prepare('SELECT count(*) FROM t').pluck().get();
  db.close();
  return found;
};

test('a folder with databases in it gets another name, and they with it', async () => {
  mkdirSync(primary.path('a/b/c'), { recursive: true });
  const below = ['top.db', 'b/middle-wal.db', 'b/c/deep.db'];
  for (const name of below) write(`a/${name}`);
  await haveOnly(below.map((name) => `a/${name}`));
  await run('mv', [primary.path('a'), primary.path('moved')]);
  await haveOnly(below.map((name) => `moved/${name}`));
  assert.not.ok(existsSync(replica.path('a')), 'the replica keeps no empty folder');
  for (const name of below) write(`moved/${name}`);
  await haveOnly(below.map((name) => `moved/${name}`));
  for (const name of below) assert.is(count(replica.path(`moved/${name}`)), 2);
  renameSync(primary.path('moved/b'), primary.path('b'));
  await haveOnly(['moved/top.db', 'b/middle-wal.db', 'b/c/deep.db']);
  await run('rm', ['-r', primary.path('moved'), primary.path('b')]);
  await haveOnly([]);
  assert.equal(readdirSync(replica.path('.')), []);
});

test('a folder is renamed under open databases in each mode: what is written through them counts under the new name', async () => {
  mkdirSync(primary.path('old'));
  const open = ['wal', 'delete', 'persist', 'truncate'].map((mode) => {
    const db = new Sqlite(primary.path(`old/${mode}.db`), { timeout: 10_000 });
    db.pragma(`journal_mode = ${mode}`);
    db.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1)');
    return { mode, db };
  });
  for (const { mode } of open) await same(`old/${mode}.db`);
  renameSync(primary.path('old'), primary.path('new'));
  for (const { mode, db } of open) {
    // SQLite, on any file system, makes no journal for a database that was moved away; a WAL it has open already.
    const said = attempt(() => db.exec('INSERT INTO t VALUES (2)'));
    assert.is(said, mode === 'wal' ? undefined : said);
    db.close();
  }
  await haveOnly(open.map(({ mode }) => `new/${mode}.db`));
  for (const { mode } of open) {
    const db = new Sqlite(primary.path(`new/${mode}.db`), { timeout: 10_000 });
    db.exec('INSERT INTO t VALUES (3)');
    db.close();
  }
  await haveOnly(open.map(({ mode }) => `new/${mode}.db`));
  for (const { mode } of open) {
    assert.is(count(replica.path(`new/${mode}.db`)), count(primary.path(`new/${mode}.db`)), mode);
  }
  rmSync(primary.path('new'), { recursive: true });
  await haveOnly([]);
});

function attempt(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test('a database where a folder was, and a folder where a database was', async () => {
  mkdirSync(primary.path('x'));
  write('x/y.db');
  await haveOnly(['x/y.db']);
  rmSync(primary.path('x'), { recursive: true });
  write('x');
  await haveOnly(['x']);
  rmSync(primary.path('x'));
  mkdirSync(primary.path('x/y.db'), { recursive: true });
  write('x/y.db/z.db');
  await haveOnly(['x/y.db/z.db']);
  rmSync(primary.path('x'), { recursive: true });
  await haveOnly([]);
});

test('databases as deep as folders may be, and other files beside them', async () => {
  const folder = Array.from({ length: 25 }, (_, n) => `folder-${n}`).join('/');
  mkdirSync(primary.path(folder), { recursive: true });
  writeFileSync(primary.path(`${folder}/notes`), 'text');
  write(`${folder}/deep.db`);
  await haveOnly([`${folder}/deep.db`]);
  renameSync(primary.path('folder-0/folder-1'), primary.path('up'));
  const moved = folder.replace('folder-0/folder-1', 'up');
  await haveOnly([`${moved}/deep.db`]);
  assert.equal((await primary.status()).localFiles, [`${moved}/notes`]);
  assert.is(readFileSync(primary.path(`${moved}/notes`), 'utf8'), 'text');
  rmSync(primary.path('up'), { recursive: true });
  rmdirSync(primary.path('folder-0'));
  await haveOnly([]);
});

test('a folder whose name is so long that what is below it cannot be opened: nodes start, and go on, with it', async () => {
  write('app.db');
  const deep = makeDeepFolder(primary.mount, primary.backing(''));
  const next = async (): Promise<void> => {
    write('app.db');
    await haveOnly(['app.db']);
    assert.equal((await primary.status()).localFiles, [deep.near]);
  };
  try {
    await next();
    await primary.killNode();
    await next();
    assert.is(await primary.stop(), 0, primary.log.slice(-2000));
    await primary.start();
    await next();
    rmSync(primary.path(deep.shorten()), { recursive: true });
    assert.equal((await primary.status()).localFiles, []);
  } finally {
    deep.remove(primary.backing(''));
  }
  rmSync(primary.path('app.db'));
  await haveOnly([]);
});

test(`${MANY} databases in one folder: made, replicated, restarted`, async () => {
  let startMs = performance.now();
  const lap = (what: string): void => {
    const memory = [primary, replica].map((node) => megabytes(residentBytes(processesOf(node))));
    console.log(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s, memory ${memory.join(' and ')}`);
    startMs = performance.now();
  };
  lap('before');
  mkdirSync(primary.path('tenants'));
  const all = Array.from({ length: MANY }, (_, n) => `tenants/${n}${n % 2 === 0 ? '-wal' : ''}.db`);
  for (const name of all) write(name);
  lap('made');
  const complete = async (): Promise<boolean> => {
    // This process had no turn for long, and a connection that was kept has ended.
    const [ours, theirs] = await Promise.all([primary, replica].map((node) => node.status().catch(() => undefined)));
    if (ours === undefined || theirs === undefined) return false;
    const wanted = new Map(ours.databases.map(({ name, txid, checksum }) => [name, `${txid}/${checksum}`]));
    const reached = theirs.databases.filter(({ name, txid, checksum }) => wanted.get(name) === `${txid}/${checksum}`);
    return wanted.size === MANY && reached.length === MANY;
  };
  await waitFor(complete, LIMIT_MS, 'all databases on both nodes');
  lap('replicated');
  for (const node of [primary, replica]) {
    assert.is(await node.stop(), 0, node.log.slice(-2000));
    await node.start();
    lap('started again');
  }
  for (const name of all) write(name);
  lap('written again');
  await waitFor(complete, LIMIT_MS, 'all databases on both nodes');
  lap('replicated');
  for (const name of all.filter((_, n) => n % Math.ceil(MANY / 20) === 0)) {
    const position = await same(name);
    assert.ok(txidOf(position) > 1);
    assert.is(count(replica.path(name)), 2);
  }
  await primary.killNode();
  await waitFor(complete, LIMIT_MS, 'all databases on both nodes');
  lap('after a kill');
  for (const node of [primary, replica]) {
    await waitFor(async () => (await node.status()).problems.length === 0, LIMIT_MS, 'the stream to be back');
  }
  renameSync(primary.path('tenants'), primary.path('renamed'));
  await waitFor(complete, LIMIT_MS, 'all databases under their new names');
  lap('renamed');
  rmSync(join(primary.mount, 'renamed'), { recursive: true });
  await waitFor(async () => (await names(replica)).length === 0, LIMIT_MS, 'all databases to go');
  lap('removed');
});

test.run();
