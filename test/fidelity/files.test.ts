// Time limit: 10 min
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Problem } from '../../src/status.js';
import { run } from '../e2e/programs.js';
import {
  type ClusterNode,
  freshFolder,
  startPair,
  stopAll,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';

/** What people do to files with databases in them: on the mount it works as on ext4, and the replica ends up the same. */
const test = suite('fidelity: files');

let primary: ClusterNode;
let replica: ClusterNode;
let folder: string;
/** On another file system, where the machine has one: a `mv` is then a copy and a removal. */
let elsewhere: string;

test.before(async () => {
  ({ primary, replica } = await startPair());
  folder = freshFolder('files');
  elsewhere = existsSync('/dev/shm') ? mkdtempSync('/dev/shm/sluice-files-') : freshFolder('elsewhere');
});
test.after(async () => {
  rmSync(elsewhere, { recursive: true, force: true });
  await stopAll();
});

const same = (name: string): Promise<string> => waitUntilSame(primary, replica, name);

/** A database with that many rows; `note` is in each. Closed. */
function make(path: string, rows: number, note: string, pageSize = 4096): string {
  const db = new Sqlite(path, { timeout: 10_000 });
  db.pragma(`page_size = ${pageSize}`);
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT, p BLOB)');
  db.prepare(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
     INSERT INTO t (note, p) SELECT ?, randomblob(600) FROM n`,
  ).run(rows, note);
  db.close();
  return path;
}

/** How many rows there are, and what is noted in them. */
function look(path: string): string {
  const db = new Sqlite(path, { readonly: true, fileMustExist: true, timeout: 10_000 });
  try {
    assert.equal(db.pragma('integrity_check', { simple: true }), 'ok', path);
    const { n, note } = db.prepare('SELECT count(*) AS n, max(note) AS note FROM t').get() as {
      n: number;
      note: string;
    };
    return `${n} ${note}`;
  } finally {
    db.close();
  }
}

const gone = (node: ClusterNode, name: string): Promise<void> =>
  waitFor(
    async () => !existsSync(node.path(name)) && (await node.position(name)) === undefined,
    30_000,
    `${name} to go`,
  );

async function isEverywhere(name: string, content: string): Promise<string> {
  const position = await same(name);
  assert.is(look(primary.path(name)), content);
  assert.is(look(replica.path(name)), content);
  return position;
}

test('cp, in its variants, brings a database in', async () => {
  const source = make(join(folder, 'source.db'), 500, 'copied');
  const copies: Record<string, readonly string[]> = {
    'cp.db': ['cp', source],
    'cp-a.db': ['cp', '-a', source],
    'cp-sparse.db': ['cp', '--sparse=always', source],
    'cp-reflink.db': ['cp', '--reflink=auto', '--preserve=all', source],
    'install.db': ['install', '-m', '640', source],
    'dd.db': ['dd', 'bs=1000', 'status=none', `if=${source}`],
  };
  for (const [name, [program, ...args]] of Object.entries(copies)) {
    const target = primary.path(name);
    await run(program!, program === 'dd' ? [...args, `of=${target}`] : [...args, target]);
    await isEverywhere(name, '500 copied');
    assert.ok(readFileSync(primary.path(name)).equals(readFileSync(source)), name);
    assert.ok(readFileSync(replica.path(name)).equals(readFileSync(source)), name);
  }
  assert.is((statSync(primary.path('install.db')).mode & 0o777).toString(8), '640');
});

test('cp over a database that others have open', async () => {
  const name = 'cp-over.db';
  const pageSizes = [4096, 1024, 8192];
  let position = '';
  for (const [n, pageSize] of pageSizes.entries()) {
    const source = make(join(folder, `over-${n}.db`), 100 + n, `copy ${n}`, pageSize);
    const before = n === 0 ? undefined : new Sqlite(primary.path(name), { timeout: 10_000 });
    before?.prepare('SELECT count(*) FROM t').get();
    await run('cp', [source, primary.path(name)]);
    const next = await isEverywhere(name, `${100 + n} copy ${n}`);
    assert.ok(position === '' || txidOf(next) > txidOf(position));
    position = next;
    // Nobody has told it; SQLite finds out by itself, as on ext4.
    assert.equal(before?.prepare('SELECT count(*) AS n FROM t').get(), before && { n: 100 + n });
    before?.close();
  }
});

test('mv from another file system, over a live database too: its readers keep what they have', async () => {
  const name = 'moved-in.db';
  await run('mv', [make(join(elsewhere, 'a.db'), 200, 'first'), primary.path(name)]);
  const position = await isEverywhere(name, '200 first');
  const reader = new Sqlite(primary.path(name), { readonly: true });
  const rows = reader.prepare('SELECT note FROM t').iterate();
  assert.equal(rows.next().value, { note: 'first' });
  await run('mv', [make(join(elsewhere, 'b.db'), 300, 'second', 1024), primary.path(name)]);
  assert.ok(txidOf(await isEverywhere(name, '300 second')) > txidOf(position), 'TXIDs go on');
  let left = 1;
  for (let row = rows.next(); row.done !== true; row = rows.next()) {
    assert.equal(row.value, { note: 'first' });
    left++;
  }
  assert.is(left, 200, 'the old reader reads the old file to its end');
  reader.close();
  const writer = new Sqlite(primary.path(name), { timeout: 10_000 });
  writer.exec("INSERT INTO t (note) VALUES ('third')");
  writer.close();
  await isEverywhere(name, '301 third');
});

test('mv within the mount is a new name: the old one is dropped', async () => {
  make(primary.path('one.db'), 50, 'one');
  make(primary.path('two.db'), 60, 'two');
  await isEverywhere('one.db', '50 one');
  const two = await isEverywhere('two.db', '60 two');
  await run('mv', [primary.path('one.db'), primary.path('new.db')]);
  await isEverywhere('new.db', '50 one');
  for (const node of [primary, replica]) await gone(node, 'one.db');
  await run('mv', [primary.path('new.db'), primary.path('two.db')]);
  assert.ok(txidOf(await isEverywhere('two.db', '50 one')) > txidOf(two));
  for (const node of [primary, replica]) await gone(node, 'new.db');
});

test('mv out to another file system, and rm, drop a database', async () => {
  make(primary.path('out.db'), 150, 'out');
  await isEverywhere('out.db', '150 out');
  const bytes = readFileSync(primary.path('out.db'));
  await run('mv', [primary.path('out.db'), join(elsewhere, 'out.db')]);
  assert.ok(readFileSync(join(elsewhere, 'out.db')).equals(bytes));
  assert.is(look(join(elsewhere, 'out.db')), '150 out');
  for (const node of [primary, replica]) await gone(node, 'out.db');
  make(primary.path('rm.db'), 10, 'rm');
  await isEverywhere('rm.db', '10 rm');
  await run('rm', [primary.path('rm.db')]);
  for (const node of [primary, replica]) await gone(node, 'rm.db');
});

test('dropped and made again, with another page size and in another journal mode, under a reader', async () => {
  const name = 'again.db';
  let position = '';
  for (const [pageSize, mode] of [
    [4096, 'delete'],
    [512, 'wal'],
    [65536, 'persist'],
    [1024, 'wal'],
  ] as const) {
    const reader = existsSync(primary.path(name)) ? new Sqlite(primary.path(name)) : undefined;
    const before = reader?.prepare('SELECT max(note) AS note FROM t').get();
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(primary.path(name + suffix), { force: true });
    make(primary.path(name), 20, `${pageSize}`, pageSize);
    const db = new Sqlite(primary.path(name), { timeout: 10_000 });
    db.pragma(`journal_mode = ${mode}`);
    db.exec(`INSERT INTO t (note) VALUES ('${mode}')`);
    const next = await isEverywhere(name, `21 ${mode}`);
    assert.ok(position === '' || txidOf(next) > txidOf(position));
    position = next;
    assert.equal(reader?.prepare('SELECT max(note) AS note FROM t').get(), before, 'it is in the old file');
    reader?.close();
    db.close();
  }
  await same(name);
});

test('a database that is unlinked while it is open stays whole for who has it, and nobody else', async () => {
  make(primary.path('unlinked.db'), 30, 'kept');
  await isEverywhere('unlinked.db', '30 kept');
  const db = new Sqlite(primary.path('unlinked.db'));
  // As some applications do with temporary databases.
  db.pragma('journal_mode = memory');
  db.prepare('SELECT * FROM t').get();
  unlinkSync(primary.path('unlinked.db'));
  for (const node of [primary, replica]) await gone(node, 'unlinked.db');
  db.exec("INSERT INTO t (note) SELECT 'more' FROM t; UPDATE t SET p = randomblob(900)");
  assert.equal(db.prepare('SELECT count(*) AS n FROM t').get(), { n: 60 });
  db.close();
  assert.not.ok(existsSync(primary.path('unlinked.db')));
});

test('emptied and filled again: what shells do', async () => {
  const name = 'emptied.db';
  make(primary.path(name), 40, 'before');
  const position = await isEverywhere(name, '40 before');
  truncateSync(primary.path(name), 0);
  make(primary.path(name), 41, 'after', 2048);
  assert.ok(txidOf(await isEverywhere(name, '41 after')) > txidOf(position));
});

test('an import in pieces, with its first page last, is one database in the end', async () => {
  const name = 'pieces.db';
  const bytes = readFileSync(make(join(folder, 'pieces.db'), 100, 'pieces'));
  const fd = openSync(primary.path(name), 'w');
  for (let at = bytes.length - 1; at >= 0; at -= 777) {
    const start = Math.max(0, at - 776);
    writeSync(fd, bytes, start, at + 1 - start, start);
  }
  closeSync(fd);
  await isEverywhere(name, '100 pieces');
});

test('names up to what SQLite can have journals for, and of any letters, are replicated', async () => {
  const names = [
    `${'n'.repeat(244)}.db`,
    `${'你'.repeat(80)}.db`,
    'a b\t"c"\'%2F\\.db',
    '-rf.db',
    '#1?x=y&z.db',
    '.hidden.db',
    'no-suffix',
  ];
  for (const name of names) make(primary.path(name), 5, 'named');
  for (const name of names) {
    await isEverywhere(name, '5 named');
    const db = new Sqlite(primary.path(name));
    db.pragma('journal_mode = wal');
    db.exec("INSERT INTO t (note) VALUES ('named')");
    await isEverywhere(name, '6 named');
    db.close();
  }
});

test('an import in pieces, each closed before the next: malformed, here and there, until it is whole', async () => {
  const bytes = readFileSync(make(join(folder, 'closed.db'), 100, 'closed'));
  const cut = 9000;
  const pieces: Record<string, () => void> = {
    'closed.db': () => writeFileSync(primary.path('closed.db'), bytes.subarray(0, cut)),
    'closed-and-moved.db': () => {
      writeFileSync(join(folder, 'part.db'), bytes.subarray(0, cut));
      copyFileSync(join(folder, 'part.db'), primary.path('part'));
      renameSync(primary.path('part'), primary.path('closed-and-moved.db'));
    },
  };
  for (const [name, begin] of Object.entries(pieces)) {
    begin();
    await waitFor(
      async () => existsSync(primary.path(`${name}-pos`)) && (await replica.position(name)) !== undefined,
      30_000,
      `what there is of ${name}`,
    );
    appendFileSync(primary.path(name), bytes.subarray(cut));
    await isEverywhere(name, '100 closed');
    make(join(folder, `next-${name}`), 101, 'whole');
    copyFileSync(join(folder, `next-${name}`), primary.path(name));
    await isEverywhere(name, '101 whole');
  }
});

test('truncated by its name, which no close follows, it is emptied all the same', async () => {
  for (const name of ['by-name.db', 'by-name-wal.db']) {
    const db = new Sqlite(make(primary.path(name), 40, 'before'));
    if (name === 'by-name-wal.db') db.pragma('journal_mode = wal');
    db.close();
    await isEverywhere(name, '40 before');
    // Node.js' truncate opens the file first, and closes it.
    await run('python3', ['-c', 'import os, sys; os.truncate(sys.argv[1], 0)', primary.path(name)]);
    await gone(replica, name);
    unlinkSync(primary.path(name));
  }
});

test('a name that ends in white space is not the one without', async () => {
  const program = `
import sqlite3, sys
for step in range(3):
    for path in sys.argv[1:]:
        db = sqlite3.connect(path, isolation_level=None)
        if step == 2: db.execute('pragma journal_mode = wal')
        db.execute('create table if not exists t (x)')
        db.execute('insert into t values (?)', (path,))
        db.close()`;
  const names = ['white', 'white ', 'white\n', 'white\u00a0'];
  await run('python3', ['-c', program, ...names.map((name) => primary.path(name))]);
  const checksums = new Set<string>();
  for (const name of names) checksums.add((await same(name)).split('/')[1]!);
  assert.is(checksums.size, names.length);
});

test('a database whose name is not UTF-8 works, is not replicated, and the status says so', async () => {
  const name = Buffer.from('636166e9fffe2e6462', 'hex');
  const path = Buffer.concat([Buffer.from(`${primary.mount}/`), name]);
  const program =
    'import os, sqlite3, sys\ndb = sqlite3.connect(os.fsencode(sys.argv[1]) + bytes.fromhex(sys.argv[2]))\n';
  const statements = "db.execute('create table t(x)')\ndb.execute('insert into t values (7)')\ndb.commit()\n";
  const args = [`${primary.mount}/`, name.toString('hex')];
  await run('python3', ['-c', `${program}${statements}`, ...args]);
  assert.is(
    await run('python3', ['-c', `${program}print(db.execute('select x from t').fetchall())`, ...args]),
    '[(7,)]\n',
  );
  const refusal = async (): Promise<Problem | undefined> =>
    (await primary.status()).problems.find(({ code }) => code === 'DATABASE_NAME');
  await waitFor(async () => (await refusal()) !== undefined, 15_000, 'the status to tell of it');
  assert.match((await refusal())!.message, /not replicated: "caf\\udce9\\udcff\\udcfe.db" is no name.*not UTF-8/);
  rmSync(path);
  assert.is(await refusal(), undefined);
});

test('other files stay on their node, and the status lists them', async () => {
  writeFileSync(primary.path('notes.txt'), 'text');
  appendFileSync(primary.path('notes.txt'), ' and more');
  copyFileSync(primary.path('notes.txt'), primary.path('copy.txt'));
  renameSync(primary.path('copy.txt'), primary.path('renamed.txt'));
  writeFileSync(Buffer.concat([Buffer.from(`${primary.mount}/`), Buffer.from('fffe', 'hex')]), 'x');
  assert.is(readFileSync(primary.path('renamed.txt'), 'utf8'), 'text and more');
  const { localFiles, problems } = await primary.status();
  assert.equal(localFiles, ['notes.txt', 'renamed.txt', '\ufffd\ufffd']);
  assert.equal(problems, []);
  assert.not.ok(existsSync(replica.path('notes.txt')));
});

test.run();
