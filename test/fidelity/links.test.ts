// Time limit: 10 min
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ClusterNode,
  freshFolder,
  startPair,
  startPrimary,
  startReplica,
  stopAll,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';

/** Databases that are opened by links: SQLite takes the target's name for its journals, and Sluice for the database. */
const test = suite('fidelity: links');

let primary: ClusterNode;
let replica: ClusterNode;

test.before(async () => {
  ({ primary, replica } = await startPair());
});
test.after(stopAll);

const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

const names = async (node: ClusterNode): Promise<string[]> => (await node.status()).databases.map(({ name }) => name);

function code(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/** Writes a row by that path, in each journal mode, and leaves the last one's files there. */
function write(path: string, rows: number): void {
  const db = new Sqlite(path, { timeout: 10_000 });
  db.exec('CREATE TABLE IF NOT EXISTS t (x)');
  for (const mode of ['wal', 'truncate']) {
    db.pragma(`journal_mode = ${mode}`);
    for (let n = 0; n < rows; n++) db.prepare('INSERT INTO t VALUES (?)').run(mode);
  }
  db.close();
}

test('a database is written by links to it: relative, absolute, of links, of folders', async () => {
  mkdirSync(primary.path('real'));
  const name = 'real/app.db';
  write(primary.path(name), 1);
  symlinkSync('real/app.db', primary.path('relative'));
  symlinkSync(primary.path('real/app.db'), primary.path('absolute'));
  symlinkSync('absolute', primary.path('of-a-link'));
  symlinkSync('real', primary.path('folder'));
  symlinkSync(primary.path('real'), join(primary.dir, 'outside'));
  const links = ['relative', 'absolute', 'of-a-link', 'folder/app.db'].map((link) => primary.path(link));
  let position = await same(name);
  for (const path of [...links, join(primary.dir, 'outside/app.db')]) {
    assert.is(realpathSync(path), primary.path(name));
    write(path, 3);
    const next = await same(name);
    assert.is(txidOf(next) > txidOf(position), true, path);
    position = next;
  }
  assert.equal(await names(primary), [name]);
  assert.equal(await names(replica), [name]);
  const db = new Sqlite(replica.path(name), { readonly: true });
  assert.equal(db.prepare('SELECT count(*) AS n FROM t').get(), { n: 2 + 5 * 6 });
  db.close();
});

test('a link to a database that is not there yet makes it; links are local, and listed', async () => {
  symlinkSync('made.db', primary.path('to-be-made'));
  write(primary.path('to-be-made'), 1);
  await same('made.db');
  assert.is(readlinkSync(primary.path('to-be-made')), 'made.db');
  const { localFiles, problems } = await primary.status();
  assert.equal(localFiles, ['absolute', 'folder', 'of-a-link', 'relative', 'to-be-made']);
  assert.equal(problems, []);
  assert.not.ok(existsSync(replica.path('to-be-made')));
  assert.not.ok(existsSync(primary.backing('to-be-made')), 'in the data folder it leads nowhere');
});

test('a link in the place of a database is none, and the other way round', async () => {
  write(primary.path('swap.db'), 1);
  const position = await same('swap.db');
  renameSync(primary.path('swap.db'), primary.path('swapped.db'));
  symlinkSync('swapped.db', primary.path('swap.db'));
  write(primary.path('swap.db'), 1);
  await same('swapped.db');
  await waitFor(async () => (await replica.position('swap.db')) === undefined, 20_000, 'the old name to go');
  assert.not.ok((await names(primary)).includes('swap.db'));
  renameSync(primary.path('swapped.db'), primary.path('swap.db'));
  assert.ok(lstatSync(primary.path('swap.db')).isFile());
  assert.ok(txidOf(await same('swap.db')) > txidOf(position));
  unlinkSync(primary.path('swap.db'));
});

test('links out of the mount lead there for applications, and the node follows none', async () => {
  const outside = freshFolder('outside');
  write(join(outside, 'other.db'), 1);
  symlinkSync(join(outside, 'other.db'), primary.path('other.db'));
  symlinkSync(outside, primary.path('elsewhere'));
  symlinkSync('/', primary.path('everything'));
  symlinkSync('.', primary.path('itself'));
  write(primary.path('other.db'), 1);
  write(primary.path('elsewhere/other.db'), 1);
  await primary.killNode();
  const db = new Sqlite(primary.path('itself/itself/other.db'));
  assert.equal(db.prepare('SELECT count(*) AS n FROM t').get(), { n: 6 });
  db.close();
  assert.equal((await names(primary)).sort(), ['made.db', 'real/app.db']);
  assert.equal((await primary.status()).problems, []);
});

test('a hard link is refused, and changes nothing', async () => {
  const name = 'real/app.db';
  const bytes = readFileSync(primary.path(name));
  assert.is(
    code(() => linkSync(primary.path(name), primary.path('second.db'))),
    'EPERM',
  );
  assert.is(
    code(() => linkSync(primary.path('relative'), primary.path('second'))),
    'EPERM',
  );
  assert.ok(readFileSync(primary.path(name)).equals(bytes));
  assert.not.ok(existsSync(primary.path('second.db')));
  write(primary.path(name), 1);
  await same(name);
});

test('links that a node has from its time as a primary give way to the databases of its new one', async () => {
  const before = await startPrimary();
  write(before.path('made.db'), 1);
  symlinkSync('made.db', before.path('shadowed.db'));
  symlinkSync('.', before.path('folder'));
  assert.is(await before.stop(), 0);
  write(primary.path('shadowed.db'), 2);
  unlinkSync(primary.path('folder'));
  mkdirSync(primary.path('folder'));
  write(primary.path('folder/made.db'), 3);
  const after = await startReplica(primary, { dir: before.dir });
  for (const name of ['made.db', 'shadowed.db', 'folder/made.db']) await waitUntilSame(primary, after, name);
  assert.ok(lstatSync(after.path('shadowed.db')).isFile());
  assert.ok(lstatSync(after.path('folder')).isDirectory());
  assert.equal((await after.status()).problems, []);
});

test.run();
