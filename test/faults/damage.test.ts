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
    exec(
      primary.path(name),
      `WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) INSERT INTO t SELECT randomblob(500) FROM n`,
    );
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

const DAMAGES: readonly (readonly [string, (node: TestNode, name: string) => void])[] = [
  ['record-in-the-middle', (node, name) => damage(log(node, name), 0.5)],
  ['cut-log', (node, name) => truncateSync(log(node, name), fstat(log(node, name)) - 100)],
  ['foreign-log', (node, name) => writeFileSync(log(node, name), 'not a log\n'.repeat(100))],
  ['empty-log', (node, name) => truncateSync(log(node, name), 0)],
  ['damaged-state', (node, name) => damage(join(node.meta(name), 'state'), 0, 512)],
  ['empty-state', (node, name) => truncateSync(join(node.meta(name), 'state'), 0)],
  ['damaged-sums', (node, name) => damage(join(node.meta(name), 'sums'), 8, 8)],
  ['empty-sums', (node, name) => truncateSync(join(node.meta(name), 'sums'), 0)],
];

for (const side of ['primary', 'replica'] as const) {
  test(`log, state and checksums of a database, damaged while down (${side}): set right at the next start`, async () => {
    await withBench(async (bench) => {
      const primary = await bench.primary();
      const names = [...DAMAGES.map(([what]) => `${what}.db`), 'sound.db'];
      for (const name of names) {
        exec(primary.path(name), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x)');
        for (let i = 0; i < 5; i++) exec(primary.path(name), 'INSERT INTO t VALUES (randomblob(500))');
      }
      const replica = await bench.replica(primary.url);
      for (const name of names) await same(primary, replica, name);
      const before = new Map(names.map((name) => [name, primary.position(name)]));
      assert.is(await replica.stop(), 0);
      assert.is(await primary.stop(), 0);
      for (const [what, hurt] of DAMAGES) {
        hurt(side === 'primary' ? primary : replica, `${what}.db`);
      }
      await primary.start();
      assert.is(primary.position('sound.db'), before.get('sound.db'));
      for (const name of names) {
        assert.is(value(primary.path(name), COUNT), 5, name);
        exec(primary.path(name), 'INSERT INTO t VALUES (randomblob(500))');
      }
      await replica.start();
      for (const name of names) {
        await same(primary, replica, name);
        assert.is(value(replica.path(name), COUNT), 6, name);
        ok(primary, name);
        ok(replica, name);
        // TXIDs never go back: what a backup or a replica has must not come again with other content.
        assert.ok(
          primary.position(name) > before.get(name)!,
          `${name}: ${primary.position(name)} after ${before.get(name)}`,
        );
      }
      assert.equal([...(await primary.problems()), ...(await replica.problems())], []);
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

test('restore refuses a store with a damaged, cut or foreign file: one line, and no file is made', async () => {
  await withBench(async (bench) => {
    const url = `file://${bench.path('backup')}`;
    const primary = await bench.primary('primary', `backup: {url: "${url}", interval: 50ms}`);
    exec(primary.path('a.db'), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(9000))');
    assert.is(await primary.stop(), 0);
    const folder = bench.path('backup/a.db/ltx');
    const path = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .find((name) => name.includes('/9/') && name.endsWith('.ltx'))!;
    const good = readFileSync(path);
    const middle = Math.floor(good.length / 2);
    const flipped = Buffer.from(good);
    flipped[middle]! ^= 0xff;
    for (const bad of [
      flipped,
      good.subarray(0, middle),
      Buffer.from('SQLite format 3\0'.repeat(30)),
      Buffer.alloc(0),
    ]) {
      writeFileSync(path, bad);
      const ran = await bench.sluice(['restore', '-o', bench.path('out.db'), `${url}/a.db`]);
      assert.is(ran.code, 1);
      assert.match(ran.stderr, /^sluice: [^\n]+\n$/);
      assert.match(ran.stderr, /\.ltx|there is no backup/, ran.stderr);
      assert.equal(
        readdirSync(bench.folder).filter((name) => name.startsWith('out.db')),
        [],
      );
      const verified = await bench.sluice(['ltx', 'verify', path]);
      assert.is(verified.code, 1);
    }
    writeFileSync(path, good);
    const ran = await bench.sluice(['restore', '-o', bench.path('out.db'), `${url}/a.db`]);
    assert.is(ran.code, 0, ran.stderr);
    assert.is(value(bench.path('out.db'), COUNT), 1);
  });
});

test('page 1 overwritten through the mount: shown, the replica keeps what it has, and it is set right', async () => {
  await withBench(async (bench) => {
    const { primary, replica } = await pair(bench);
    const good = readFileSync(primary.path('a.db')).subarray(0, 4096);
    const overwrite = (page: Buffer) => {
      const fd = openSync(primary.path('a.db'), 'r+');
      writeSync(fd, page, 0, 4096, 0);
      closeSync(fd);
    };
    overwrite(Buffer.alloc(4096, 'garbage '));
    await until('it is shown', async () => (await primary.problems()).includes('DATABASE_DAMAGED a.db'));
    exec(primary.path('b.db'), 'INSERT INTO t VALUES (1)');
    await same(primary, replica, 'b.db');
    assert.is(value(replica.path('a.db'), COUNT), 20);
    overwrite(good);
    exec(primary.path('a.db'), 'INSERT INTO t VALUES (1)');
    await same(primary, replica, 'a.db');
    assert.is(value(replica.path('a.db'), COUNT), 21);
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
    assert.is(value(replica.path('a.db'), COUNT), 20);
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
