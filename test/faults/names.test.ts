import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec, requireMounts, same, until, value, withBench } from './bench.js';

requireMounts('names');
const test = suite('odd names');

function code(attempt: () => unknown): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

test('names that are too long, lead out of the mount, or are reserved; odd ones that are fine', async () => {
  await withBench(async (bench) => {
    const primary = await bench.primary();
    const replica = await bench.replica(primary.url);
    // At the mount.
    assert.is(
      code(() => writeFileSync(primary.path('x'.repeat(300)), '')),
      'ENAMETOOLONG',
    );
    assert.is(
      code(() => mkdirSync(primary.path('x'.repeat(300)))),
      'ENAMETOOLONG',
    );
    assert.throws(() => exec(primary.path('x'.repeat(300)), 'CREATE TABLE t(x)'), /unable to open database file/);
    assert.is(
      code(() => writeFileSync(primary.path('a\0b'), '')),
      'ERR_INVALID_ARG_VALUE',
    );
    writeFileSync(`${primary.mount}/../beside`, 'not under the mount');
    assert.ok(existsSync(`${primary.data}/beside`));
    assert.is(
      code(() => writeFileSync(primary.path('.primary'), 'x')),
      'EACCES',
    );
    assert.equal(readdirSync(primary.mount), []);

    // Names that a careless program trips over.
    mkdirSync(primary.path('sub folder/deeper'), { recursive: true });
    const long = `${'y'.repeat(200)}.db`;
    const names = [
      '..hidden.db',
      'sub folder/deeper/ü ñ 数据.db',
      '%2e%2e.db',
      'quote\'"&;$(x).db',
      '-o.db',
      long,
      'no-suffix',
      'line\nbreak.db',
    ];
    for (const name of names) exec(primary.path(name), `CREATE TABLE t(x); INSERT INTO t VALUES (1)`);
    for (const name of names) {
      await same(primary, replica, name);
      assert.is(value(replica.path(name), 'SELECT count(*) FROM t'), 1, name);
    }
    const status = await primary.status();
    assert.equal(status.databases.map(({ name }) => name).sort(), [...names].sort());
    // Over a restart of both.
    assert.is(await primary.stop(), 0);
    assert.is(await replica.stop(), 0);
    await primary.start();
    await replica.start();
    for (const name of names) {
      exec(primary.path(name), 'INSERT INTO t VALUES (2)');
      await same(primary, replica, name);
    }
    await until('no problems', async () => (await replica.problems()).length === 0);
    assert.equal(await primary.problems(), []);
  });
});

test('restore does not leave its source', async () => {
  await withBench(async (bench) => {
    const out = bench.path('out.db');
    for (const [source, said] of [
      [`file://${bench.folder}/backup/../../etc/passwd`, /there is no backup/],
      [`file://${bench.folder}/no%00thing`, /has a NUL character/],
      [`file://${bench.folder}/${'x'.repeat(300)}`, /ENAMETOOLONG/],

      ['', /is not a store address/],
    ] as const) {
      const ran = await bench.sluice(['restore', '-o', out, source], {
        AWS_ACCESS_KEY_ID: 'a',
        AWS_SECRET_ACCESS_KEY: 'b',
      });
      assert.is(ran.code, 1, source);
      assert.match(ran.stderr, said);
      assert.is(ran.stderr.split('\n').length, 2, ran.stderr);
      assert.not(existsSync(out));
    }
  });
});

test.run();
