import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Bench, exec, requireMounts, same, type TestNode, until, value, withBench } from './bench.js';

requireMounts('damage');
const test = suite('damaged files');

const COUNT = 'SELECT count(*) FROM t';

async function pair(bench: Bench): Promise<{ primary: TestNode; replica: TestNode }> {
  const primary = await bench.primary();
  for (const name of ['a.db', 'b.db']) {
    exec(primary.path(name), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x)');
    for (let i = 0; i < 20; i++) exec(primary.path(name), 'INSERT INTO t VALUES (randomblob(500))');
  }
  const replica = await bench.replica(primary.url);
  for (const name of ['a.db', 'b.db']) await same(primary, replica, name);
  return { primary, replica };
}

/** Turns bytes around at a place; a fraction is one of the file's size. */
function damage(path: string, place: number, bytes = 64): void {
  const fd = openSync(path, 'r+');
  const at = place < 1 ? Math.floor(fstatSync(fd).size * place) : place;
  const piece = Buffer.alloc(bytes);
  const read = readSync(fd, piece, 0, bytes, at);
  for (let i = 0; i < read; i++) piece[i]! ^= 0xff;
  writeSync(fd, piece, 0, read, at);
  closeSync(fd);
}

function log(node: TestNode, name: string): string {
  const folder = node.meta(name);
  const last = readdirSync(folder)
    .filter((file) => file.endsWith('.log'))
    .sort()
    .at(-1)!;
  return join(folder, last);
}

function ok(node: TestNode, name: string): void {
  assert.is(value(node.path(name), 'PRAGMA integrity_check'), 'ok');
}

/** Both go on: new transactions on both databases arrive, and what was there is there. */
async function goesOn(primary: TestNode, replica: TestNode, rows: number): Promise<void> {
  for (const name of ['a.db', 'b.db']) {
    exec(primary.path(name), 'INSERT INTO t VALUES (randomblob(500))');
    await same(primary, replica, name);
    assert.is(value(primary.path(name), COUNT), rows, `${name} on the primary`);
    assert.is(value(replica.path(name), COUNT), rows, `${name} on the replica`);
    ok(primary, name);
    ok(replica, name);
  }
  await until('no problem is shown', async () => {
    const problems = [...(await primary.problems()), ...(await replica.problems())];
    if (problems.length > 0) throw new Error(problems.join(', '));
    return true;
  });
}

for (const [what, hurt] of [
  ['a record in the middle of the log', (node: TestNode) => damage(log(node, 'a.db'), 0.5)],
  ['the end of the log', (node: TestNode) => truncateSync(log(node, 'a.db'), fstat(log(node, 'a.db')) - 100)],
  ['a log of something else', (node: TestNode) => writeFileSync(log(node, 'a.db'), 'not a log\n'.repeat(100))],
  ['an empty log', (node: TestNode) => truncateSync(log(node, 'a.db'), 0)],
  ['the state', (node: TestNode) => damage(join(node.meta('a.db'), 'state'), 0, 512)],
  ['an empty state', (node: TestNode) => truncateSync(join(node.meta('a.db'), 'state'), 0)],
  ['the page checksums', (node: TestNode) => damage(join(node.meta('a.db'), 'sums'), 8, 8)],
  ['no page checksums', (node: TestNode) => truncateSync(join(node.meta('a.db'), 'sums'), 0)],
] as [string, (node: TestNode) => void][]) {
  test(`${what}, on the primary and on the replica, set right at the next start`, async () => {
    await withBench(async (bench) => {
      const { primary, replica } = await pair(bench);
      const before = [primary.position('a.db'), primary.position('b.db')];
      assert.is(await replica.stop(), 0);
      assert.is(await primary.stop(), 0);
      hurt(primary);
      hurt(replica);
      await primary.start();
      assert.is(value(primary.path('a.db'), COUNT), 20);
      assert.is(primary.position('b.db'), before[1]);
      await replica.start();
      await goesOn(primary, replica, 21);
      // TXIDs never go back: what a backup or a replica has must not come again with other content.
      assert.ok(primary.position('a.db') > before[0]!, `${primary.position('a.db')} after ${before[0]}`);
    });
  });
}

test('a damaged record of the running log is never applied: a replica that needs it gets a snapshot', async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    assert.is(await replica.stop(), 0);
    const place = fstat(log(primary, 'a.db'));
    exec(primary.path('a.db'), 'INSERT INTO t VALUES (randomblob(500))');
    damage(log(primary, 'a.db'), place + 16 + 120, 32);
    await replica.start();
    await same(primary, replica, 'a.db');
    exec(primary.path('b.db'), 'INSERT INTO t VALUES (randomblob(500))');
    await goesOn(primary, replica, 22);
  });
});

test('files that are no databases: kept, listed, not replicated; a database that is overwritten is its own trouble', async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    writeFileSync(primary.path('garbage.db'), 'this is not a database\n'.repeat(1000));
    writeFileSync(primary.path('short.db'), 'SQLite format 3\0');
    writeFileSync(primary.path('notes.txt'), 'text');
    const { localFiles, databases } = await primary.status();
    assert.equal([...localFiles].sort(), ['garbage.db', 'notes.txt', 'short.db']);
    assert.equal(databases.map(({ name }) => name).sort(), ['a.db', 'b.db']);
    assert.equal(
      readdirSync(replica.mount).filter((name) => /^(garbage|short|notes)/.test(name)),
      [],
    );
    exec(primary.path('b.db'), 'INSERT INTO t VALUES (1)');
    await same(primary, replica, 'b.db');
    assert.equal(await primary.problems(), []);
  });
});

test('a database that was damaged while its node was down: its own trouble, shown, and set right by a restore', async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    assert.is(await primary.stop(), 0);
    const good = readFileSync(primary.file('a.db'));
    damage(primary.file('a.db'), 0, 100);
    await primary.start();
    assert.equal(await primary.problems(), ['DATABASE_DAMAGED a.db']);
    const [problem] = (await primary.status()).problems;
    assert.is(problem!.message, 'a.db: the file is not a SQLite database (any more)');
    // The other goes on, and the replica keeps what it has of the damaged one.
    exec(primary.path('b.db'), 'INSERT INTO t VALUES (1)');
    await same(primary, replica, 'b.db');
    assert.is(value(replica.path('b.db'), COUNT), 21);
    const shown = await bench.sluice(['status', '-c', primary.config]);
    assert.match(shown.stdout, 'problem: a.db: a.db: the file is not a SQLite database (any more)');
    // Set right: the file as it was.
    assert.is(await primary.stop(), 0);
    writeFileSync(primary.file('a.db'), good);
    await primary.start();
    await same(primary, replica, 'a.db');
    assert.is(value(replica.path('a.db'), COUNT), 20);
    assert.equal(await primary.problems(), []);
  });
});

test("a replica's database that was damaged while it was down gets a snapshot; the other is left alone", async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    assert.is(await replica.stop(), 0);
    damage(replica.file('a.db'), 0, 100);
    await replica.start();
    await goesOn(primary, replica, 21);
    assert.is(await replica.stop(), 0);
    damage(replica.file('a.db'), 4096 + 50, 2000);
    await replica.start();
    await goesOn(primary, replica, 22);
  });
});

function fstat(path: string): number {
  const fd = openSync(path, 'r');
  try {
    return fstatSync(fd).size;
  } finally {
    closeSync(fd);
  }
}

test.run();
