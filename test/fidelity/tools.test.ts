import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contentChecksum, txidOf } from '../support/cluster.js';
import { requireShell } from '../tools.js';
import { Python, python } from './support/python.js';
import { fill, Trio } from './support/trio.js';

/* SQLite's own tools and copying interfaces, at work on a mount. */

const test = suite('tools');
const LIMIT_MS = 60_000;

let trio: Trio;
test.before(async () => {
  trio = await Trio.start();
});
test.after(() => trio.stop());

/** A database outside the mount. */
function made(file: string, mode: string, rows: number, pageSize = 4096): string {
  const path = join(trio.outside, file);
  const db = new Sqlite(path);
  db.pragma(`page_size = ${pageSize}`);
  db.pragma(`journal_mode = ${mode}`);
  fill(db, rows, 900);
  db.close();
  return path;
}

/** What SQLite says of rows and of the file, through the mount. */
function rowsOf(path: string): number {
  const db = new Sqlite(path, { readonly: true, timeout: 10_000 });
  try {
    assert.is(db.pragma('integrity_check', { simple: true }), 'ok');
    return Number(db.prepare('SELECT count(*) FROM t').pluck().get());
  } finally {
    db.close();
  }
}

for (const mode of ['WAL', 'DELETE']) {
  test(`sqlite3_backup onto a live database in ${mode} mode, of all at once and in steps, while a replica reads it`, async () => {
    const name = `backup-${mode}.db`;
    const source = made(`source-${mode}.db`, 'DELETE', 400);
    const live = trio.open(name);
    live.pragma(`journal_mode = ${mode}`);
    fill(live, 30);
    await trio.same(name);
    const reader = trio.openReplica(name);
    const count = reader.prepare('SELECT count(*) FROM t').pluck();
    assert.is(count.get(), 30);
    for (const pages of [-1, 20]) {
      const script = `
source = sqlite3.connect(sys.argv[2])
source.backup(db, pages=${pages}, sleep=0.001)`;
      const before = txidOf(await trio.same(name));
      await python(script, trio.path(name), source);
      await trio.same(name);
      assert.is(count.get(), 400, 'on the replica');
      assert.is(live.prepare('SELECT count(*) FROM t').pluck().get(), 400);
      fill(live, 7);
      assert.is(txidOf(await trio.same(name)), before + 2, 'the backup, and the rows after it');
      live.exec('DELETE FROM t WHERE id > 200');
    }
    reader.close();
    live.close();
    await trio.proven(name);
  });
}

test('better-sqlite3’s backup into the mount, and out of a replica’s', async () => {
  const db = new Sqlite(made('b3.db', 'WAL', 500, 1024), { readonly: true });
  await db.backup(trio.path('b3.db'));
  db.close();
  await trio.proven('b3.db');
  const reader = trio.openReplica('b3.db');
  const out = join(trio.outside, 'b3-out.db');
  await reader.backup(out);
  reader.close();
  assert.is(rowsOf(out), 500);
});

test('what sqlite3_serialize gives, saved as a file, deserialized, changed and saved over it', async () => {
  const source = new Sqlite(made('serialized.db', 'DELETE', 300), { readonly: true });
  writeFileSync(trio.path('serialized.db'), source.serialize());
  source.close();
  await trio.same('serialized.db');
  const inMemory = new Sqlite(readFileSync(trio.path('serialized.db')));
  inMemory.exec('DELETE FROM t WHERE id % 2 = 0');
  fill(inMemory, 500);
  writeFileSync(trio.path('serialized.db'), inMemory.serialize());
  await trio.same('serialized.db');
  inMemory.exec('DELETE FROM t WHERE id > 10; VACUUM');
  writeFileSync(trio.path('new.tmp'), inMemory.serialize());
  inMemory.close();
  await trio.same('new.tmp');
  renameSync(trio.path('new.tmp'), trio.path('serialized.db'));
  await trio.proven('serialized.db');
  assert.is(rowsOf(trio.path('serialized.db')), 5);
});

for (const mode of ['WAL', 'DELETE']) {
  test(`VACUUM INTO, on and off the mount, of a primary and a replica in ${mode} mode`, async () => {
    const name = `into-${mode}.db`;
    const db = trio.open(name);
    db.pragma(`journal_mode = ${mode}`);
    fill(db, 300);
    db.exec('DELETE FROM t WHERE id % 2 = 0');
    const before = await trio.same(name);
    const off = join(trio.outside, name);
    db.prepare('VACUUM INTO ?').run(off);
    db.prepare('VACUUM INTO ?').run(trio.path(`copy-${name}`));
    db.close();
    assert.is(rowsOf(off), 150);
    assert.is(await trio.same(name), before, 'it changes nothing');
    await trio.proven(`copy-${name}`);
    assert.is(contentChecksum(trio.primary.backing(`copy-${name}`)), contentChecksum(off));
    const reader = trio.openReplica(name);
    const copy = join(trio.outside, `replica-${name}`);
    reader.prepare('VACUUM INTO ?').run(copy);
    assert.throws(
      () => reader.prepare('VACUUM INTO ?').run(trio.replica.path('no.db')),
      /readonly|unable to open|read-only/,
    );
    reader.close();
    assert.is(rowsOf(copy), 150);
  });
}

test('the sqlite3 shell: .dump | sqlite3, .import, .backup, .clone and .restore', async () => {
  const shell = requireShell();
  if (shell === undefined) return;
  const run = (input: string, ...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(shell, args, { input, encoding: 'utf8', timeout: LIMIT_MS });
    assert.is(`${status} ${stderr}`, '0 ', `${args.join(' ')}\n${input.slice(0, 300)}`);
    return stdout;
  };
  const source = made('shell.db', 'WAL', 200);
  run(run('.dump\n', source), trio.path('dumped.db'));
  run(`PRAGMA journal_mode = WAL;\n${run('.dump\n', source)}`, trio.path('dumped-wal.db'));
  const csv = join(trio.outside, 'rows.csv');
  writeFileSync(csv, Array.from({ length: 3000 }, (_, i) => `${i},"row, ${i}"\n`).join(''));
  run(
    `CREATE TABLE t (id INTEGER PRIMARY KEY, p);\n.import --csv ${csv} t\nCREATE INDEX i ON t (p);\n`,
    trio.path('imported.db'),
  );
  run(`.backup ${trio.path('backed-up.db')}\n.clone ${trio.path('cloned.db')}\n`, source);
  run(`CREATE TABLE t (x);\n.restore ${source}\n`, trio.path('shell-restored.db'));
  const names = ['dumped.db', 'dumped-wal.db', 'imported.db', 'backed-up.db', 'cloned.db', 'shell-restored.db'];
  await trio.proven(...names);
  for (const name of names) assert.is(rowsOf(trio.replica.path(name)), name === 'imported.db' ? 3000 : 200, name);
});

test('a transaction of a program that writes while another one reads, both with the shell’s defaults', async () => {
  const name = 'two.db';
  const reader = new Python(
    `
db.execute('CREATE TABLE t (a)'); print('open', flush=True); input()
db.execute('BEGIN'); print(db.execute('SELECT count(*) FROM t').fetchall()); print('reads', flush=True); input()
db.execute('COMMIT'); print('ended', flush=True); input()
print(db.execute('SELECT count(*) FROM t').fetchone()[0])`,
    [trio.path(name)],
  );
  await reader.says('open');
  reader.goOn();
  await reader.says('reads');
  const writer = python(`db.execute('INSERT INTO t VALUES (1)')`, trio.path(name));
  reader.goOn();
  await reader.says('ended');
  await writer;
  reader.goOn();
  assert.match(await reader.done(), /\n1$/);
  await trio.proven(name);
});

test.run();
