import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec, requireMounts, same, until, value, withBench } from './bench.js';

requireMounts('roles');
const test = suite('nodes that change roles');

test('a primary that comes back as a replica keeps what only it had, though the new primary’s log does not reach it', async () => {
  await withBench(async (bench) => {
    const before = await bench.primary('a');
    exec(before.path('x.db'), "PRAGMA journal_mode=DELETE; CREATE TABLE t(x); INSERT INTO t VALUES ('both')");
    const replica = await bench.replica(before.url, 'b');
    await same(before, replica, 'x.db');
    assert.is(await replica.stop(), 0);
    exec(before.path('x.db'), "INSERT INTO t VALUES ('only here')");
    assert.is(await before.stop(), 0);

    const primary = await bench.primary('b-as-primary', '', bench.path('b'));
    for (let i = 0; i < 3; i++) exec(primary.path('x.db'), "INSERT INTO t VALUES ('new')");
    // A new page size: the log begins afresh, after all that the other node has.
    exec(primary.path('x.db'), 'PRAGMA page_size=8192; VACUUM');
    const after = await bench.replica(primary.url, 'a-as-replica', '', bench.path('a'));
    await same(primary, after, 'x.db');
    const setAside = join(after.data, 'set-aside');
    const [folder, ...more] = readdirSync(setAside);
    assert.match(folder ?? 'nothing', /-behind$/);
    assert.equal(more, []);
    assert.is(value(join(setAside, folder!, 'x.db'), "SELECT count(*) FROM t WHERE x = 'only here'"), 1);
    assert.is(value(after.path('x.db'), "SELECT count(*) FROM t WHERE x = 'only here'"), 0);

    // From now on it is a replica like any other: what it is behind by is the primary's.
    assert.is(await after.stop(), 0);
    exec(primary.path('x.db'), 'PRAGMA page_size=4096; VACUUM');
    const again = await bench.replica(primary.url, 'a-again', '', bench.path('a'));
    await same(primary, again, 'x.db');
    assert.is(readdirSync(setAside).length, 1);
  });
});

test('two replicas from one data folder: the second shows what is wrong, and what it says helps', async () => {
  await withBench(async (bench) => {
    const primary = await bench.primary();
    exec(primary.path('x.db'), 'CREATE TABLE t(x)');
    const first = await bench.replica(primary.url, 'first');
    await same(primary, first, 'x.db');
    assert.is(await first.stop(), 0);
    cpSync(first.data, bench.path('copy'), { recursive: true });
    const again = await bench.replica(primary.url, 'first-again', '', first.data);
    await same(primary, again, 'x.db');
    const copy = await bench.replica(primary.url, 'copy');
    await until('the copy says so', async () => (await copy.problems()).includes(`NODE_ID_TWICE ${primary.url}`));
    const { nodeId } = await copy.status();
    const problem = (await copy.status()).problems.find(({ code }) => code === 'NODE_ID_TWICE')!;
    assert.match(problem.message, new RegExp(`has the node id ${nodeId} too.*remove node\\.json`));
    exec(primary.path('x.db'), 'INSERT INTO t VALUES (1)');
    await same(primary, again, 'x.db');
    assert.equal(await again.problems(), []);
    assert.is(await copy.stop(), 0);
    rmSync(join(copy.data, 'node.json'));
    await copy.start();
    await same(primary, copy, 'x.db');
    await until('both follow', async () => (await primary.status()).replicas.length === 2);
    assert.equal([...(await again.problems()), ...(await copy.problems())], []);
  });
});

test.run();
