import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { SluiceError } from '../../src/errors.js';
import {
  DatabaseSums,
  decodeHeader,
  LtxReader,
  LtxStreamDecoder,
  pageChecksum,
  verifyLtx,
} from '../../src/ltx/index.js';
import { parseWalHeader, parseWalIndexHeader } from '../../src/sqlite/index.js';
import { contentChecksum } from '../support/cluster.js';
import { MountBench } from './support/mount-bench.js';
import { Random } from './support/random.js';
import { Shadow } from './support/shadow.js';

const test = suite('capture');
const benches: MountBench[] = [];
const shadows: Shadow[] = [];

async function bench(root?: string): Promise<MountBench> {
  const made = new MountBench(root);
  benches.push(made);
  return made.start();
}

function shadow(on: MountBench, name: string, mode: 'wal' | 'delete', pageSize?: number): Shadow {
  const made = new Shadow(on, name, mode, pageSize);
  shadows.push(made);
  return made;
}

test.after.each(async () => {
  for (const each of shadows.splice(0)) each.close();
  for (const each of benches.splice(0)) {
    await each.stop(false);
    each.remove();
  }
});

/** All of the log, applied page by page, leads to the checksum that the log promises at each step. */
function replayLog(on: MountBench, name: string): string {
  const { log } = on.databases.get(name)!;
  let sums: DatabaseSums | undefined;
  const sum = { high: 0, low: 0 };
  for (let txid = log.first; txid <= log.last; txid++) {
    const { source, close } = log.get(txid)!.open();
    const reader = new LtxReader(source);
    const { pageSize, commit, preApply, postApply } = reader.header;
    sums ??= new DatabaseSums(pageSize);
    if (txid > log.first) assert.is(sums.checksum(), preApply, `before ${txid}`);
    const page = Buffer.alloc(pageSize);
    for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
      pageChecksum(pgno, page, 0, pageSize, sum);
      sums.set(pgno, sum.high, sum.low);
    }
    reader.finish();
    sums.truncate(commit);
    assert.is(sums.checksum(), postApply, `after ${txid}`);
    close();
  }
  return sums!.checksum().toString(16);
}

const STATEMENTS = [
  'INSERT INTO t (p) VALUES (randomblob(300))',
  'INSERT INTO t (p) SELECT randomblob(700) FROM t LIMIT 30',
  'UPDATE t SET p = randomblob(200) WHERE id % 5 = 1',
  'DELETE FROM t WHERE id % 3 = 0',
  'BEGIN; DELETE FROM t; ROLLBACK',
  'DELETE FROM t; VACUUM',
  'PRAGMA wal_checkpoint(PASSIVE)',
  'PRAGMA wal_checkpoint(RESTART)',
  'PRAGMA wal_checkpoint(TRUNCATE)',
];

test('positions are those of the content after each statement, and the log leads from one to the next', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.constantFrom('wal' as const, 'delete' as const), async (seed, mode) => {
      const random = new Random(seed);
      const on = await bench();
      const db = shadow(on, 'a.db', mode, random.pick([512, 1024, 4096]));
      await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
      for (let i = 0; i < 15; i++) {
        const statement = random.pick(STATEMENTS);
        await db.run(statement);
        if (random.chance(0.5)) continue;
        await on.quiet();
        assert.is(on.position('a.db')?.split('/')[1], db.content(), statement);
      }
      await on.quiet();
      assert.is(replayLog(on, 'a.db'), db.content());
      assert.equal(on.warnings, []);
    }),
    { numRuns: 12 },
  );
});

test('a transaction larger than the buffers, in both modes', async () => {
  for (const mode of ['wal', 'delete'] as const) {
    const on = await bench();
    const db = shadow(on, 'large.db', mode, 4096);
    await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
    await db.run(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 800)
      INSERT INTO t (p) SELECT randomblob(3000) FROM n`);
    await on.quiet();
    assert.is(on.position('large.db')?.split('/')[1], db.content());
    await db.run('DELETE FROM t WHERE id > 10; VACUUM');
    await on.quiet();
    assert.is(replayLog(on, 'large.db'), db.content());
    verifyLtx(on.databases.get('large.db')!.log.get(2)!.open().source);
    assert.equal(on.warnings, []);
  }
});

test('commits that wait to be logged in great number are fewer transactions, with the same content', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal', 4096);
  await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  await on.quiet();
  const commits = 2500;
  const insert = db.db.prepare('INSERT INTO t (p) VALUES (randomblob(300))');
  db.db.pragma('synchronous = OFF');
  for (let i = 0; i < commits; i++) insert.run();
  db.db.exec('DELETE FROM t WHERE id > 1000; VACUUM');
  const wal = readFileSync(`${db.path}-wal`);
  const from = 32 + db.frames() * (24 + 4096);
  await on.write('a.db-wal', from, wal.subarray(from));
  await on.quiet();
  await db.follow();
  await on.quiet();
  const { log } = on.databases.get('a.db')!;
  assert.ok(log.last < commits / 2, `${log.last} transactions`);
  assert.is(on.position('a.db')?.split('/')[1], db.content());
  assert.is(replayLog(on, 'a.db'), db.content());
  // One by one again.
  for (let i = 1; i <= 10; i++) {
    const before = log.last;
    insert.run();
    await db.follow();
    await on.quiet();
    assert.is(log.last, before + 1);
  }
  assert.equal(on.warnings, []);
});

test('a WAL that began afresh without the worker having seen it is left alone until it has', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  for (let i = 0; i < 5; i++) await db.run('INSERT INTO t (p) VALUES (randomblob(3000))');
  await db.run('PRAGMA wal_checkpoint(PASSIVE)');
  await on.quiet();
  const { generation, frames } = on.shared.wal(0);
  const old = parseWalHeader(readFileSync(on.backing('a.db-wal')))!;
  const txid = on.databases.get('a.db')!.state.txid;
  db.db.exec("UPDATE t SET p = 'other'");
  const now = readFileSync(`${db.path}-wal`);
  writeFileSync(on.backing('a.db-wal'), now);
  // As if a worker that took over had looked a moment before.
  on.shared.publishWal(0, generation + 1, frames, old);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(on.databases.get('a.db')!.state.txid, txid);
  const committed = parseWalIndexHeader(readFileSync(`${db.path}-shm`))!.frames;
  on.shared.publishWal(0, generation + 2, committed, parseWalHeader(now)!);
  await on.quiet();
  assert.is(on.databases.get('a.db')!.state.txid, txid + 1);
  assert.is(replayLog(on, 'a.db'), db.content());
  assert.equal(on.warnings, []);
});

test('a database whose first transactions are in a WAL that is there already', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  db.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB); INSERT INTO t (p) VALUES (randomblob(5000))');
  await db.follow();
  await on.quiet();
  assert.is(on.position('a.db')?.split('/')[1], db.content());
  await db.run('INSERT INTO t (p) VALUES (randomblob(5000))');
  await on.quiet();
  assert.is(replayLog(on, 'a.db'), db.content());
  assert.equal(on.warnings, []);
});

test('a snapshot is one moment, while writers, checkpoints, a new WAL and VACUUM go over the files', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.constantFrom('wal' as const, 'delete' as const), async (seed, mode) => {
      const random = new Random(seed);
      const on = await bench();
      const db = shadow(on, 'a.db', mode, 512);
      await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
      await db.run(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
        INSERT INTO t (p) SELECT randomblob(700) FROM n`);
      if (random.chance(0.5)) await db.run('PRAGMA wal_checkpoint(TRUNCATE)');
      await db.run(STATEMENTS[2]!);
      await on.quiet();
      const expected = db.content();
      const snapshot = await on.databases.get('a.db')!.snapshot();
      assert.is(snapshot.position.checksum.toString(16), expected);
      let pages = 0;
      const decoder = new LtxStreamDecoder({ page: () => pages++ });
      const pieces = snapshot.chunks();
      for (let i = 0; ; i++) {
        if (i < 12) await db.run(random.pick(STATEMENTS));
        const { value, done } = await pieces.next();
        if (done === true) break;
        decoder.push(value);
      }
      decoder.end();
      assert.is(pages, snapshot.pageCount);
      snapshot.close();
      snapshot.close();
      await on.quiet();
      assert.is(on.position('a.db')?.split('/')[1], db.content());
      assert.equal(on.warnings, []);
    }),
    { numRuns: 12 },
  );
});

test('a database that is not what was logged of it is found out by a snapshot, and read whole', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'delete');
  await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  await db.run('INSERT INTO t (p) VALUES (randomblob(5000))');
  await on.quiet();
  let resets = 0;
  on.databases.subscribe({ reset: () => resets++ });
  // Somebody writes the file behind the mount.
  const file = readFileSync(on.backing('a.db'));
  file[3 * 1024 + 100]! ^= 1;
  writeFileSync(on.backing('a.db'), file);
  const read = async (): Promise<void> => {
    const snapshot = await on.databases.get('a.db')!.snapshot();
    try {
      for await (const _ of snapshot.chunks());
    } finally {
      snapshot.close();
    }
  };
  const failure = await read().catch((error: unknown) => error);
  assert.is((failure as SluiceError).code, 'SNAPSHOT_CHECKSUM', String(failure));
  await on.quiet();
  assert.is(on.position('a.db')?.split('/')[1], contentChecksum(on.backing('a.db')));
  assert.is(resets, 1);
  await read();
  assert.is(on.warnings.length, 1);
});

test('a snapshot waits for the end of a rollback transaction, and for nothing else', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'delete');
  await db.run('CREATE TABLE t (a)');
  await on.quiet();
  await on.write('a.db-journal', 0, Buffer.from('d9d505f920a163d7', 'hex'));
  const asked = on.databases.get('a.db')!.snapshot();
  let granted = false;
  void asked.then(() => {
    granted = true;
  });
  await on.quiet();
  assert.is(granted, false);
  await on.unlink('a.db-journal');
  (await asked).close();
});

test('a dropped database ends its snapshot with an error', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'delete', 512);
  await db.run('CREATE TABLE t (p); INSERT INTO t VALUES (randomblob(200000))');
  await on.quiet();
  const snapshot = await on.databases.get('a.db')!.snapshot();
  const dropped: string[] = [];
  on.databases.subscribe({ dropped: (name, position) => dropped.push(`${name} ${position.txid}`) });
  await on.unlink('a.db');
  await on.quiet();
  assert.equal(dropped, ['a.db 1']);
  try {
    for await (const _ of snapshot.chunks());
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'SNAPSHOT_FAILED');
  }
  snapshot.close();
  assert.is(on.databases.get('a.db'), undefined);
  assert.is(on.position('a.db'), undefined);
});

test('a database removed in the middle of its transactions is dropped, whatever could not be read any more', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p); INSERT INTO t VALUES (1)');
  await db.run('INSERT INTO t VALUES (2)');
  await on.unlink('a.db');
  await on.unlink('a.db-wal');
  await on.quiet();
  assert.is(on.databases.get('a.db'), undefined);
  assert.is(on.databases.every()[0]?.problem, undefined);
});

for (const order of ['its WAL cut first', 'its WAL cut afterwards']) {
  test(`a WAL database that another is copied over, of another page size, ${order}`, async () => {
    const on = await bench();
    const db = shadow(on, 'a.db', 'wal', 4096);
    await db.run('CREATE TABLE t (p); INSERT INTO t VALUES (1)');
    await db.run('INSERT INTO t VALUES (2)');
    const elsewhere = await bench();
    const other = shadow(elsewhere, 'a.db', 'wal', 512);
    await other.run('CREATE TABLE u (p); INSERT INTO u VALUES (zeroblob(3000))');
    other.db.pragma('wal_checkpoint(TRUNCATE)');
    await other.run('INSERT INTO u VALUES (3)');
    const main = readFileSync(other.path);
    if (order === 'its WAL cut first') await on.resize('a.db-wal', 0);
    await on.write('a.db', 0, main);
    await on.resize('a.db', main.length);
    if (order !== 'its WAL cut first') await on.resize('a.db-wal', 0);
    await on.write('a.db-wal', 0, readFileSync(`${other.path}-wal`));
    await on.quiet();
    assert.is(on.position('a.db')?.split('/')[1], other.content());
    assert.equal(on.warnings, []);
  });
}

test('a database is read whole while its application goes on, checkpoints too', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal', 4096);
  await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  await db.run(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
    INSERT INTO t (p) SELECT randomblob(3900) FROM n`);
  await db.run('PRAGMA wal_checkpoint(PASSIVE)');
  await on.quiet();
  const database = on.databases.get('a.db')!;
  for (let round = 0; round < 3; round++) {
    database.log.cut(database.position.txid);
    database.distrust();
    // The first commit makes it be read whole; the next ones reach the database file before that is done.
    for (let i = 0; i < 12; i++) {
      await db.run(`UPDATE t SET p = randomblob(3900) WHERE id = ${1500 - 7 * i}`);
      await db.run('PRAGMA wal_checkpoint(PASSIVE)');
      await new Promise((resolve) => setImmediate(resolve));
    }
    await on.quiet();
    assert.is(on.position('a.db')?.split('/')[1], db.content());
    const snapshot = await database.snapshot();
    for await (const _ of snapshot.chunks());
    snapshot.close();
  }
  assert.ok(on.deferrals > 0);
  assert.equal(on.warnings, []);
});

test('a database whose changes are not known is compared with what its WAL was logged to: the log goes on', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  for (let i = 0; i < 30; i++) await db.run('INSERT INTO t VALUES (randomblob(900))');
  await db.run('PRAGMA wal_checkpoint(PASSIVE)');
  await on.quiet();
  const { log } = on.databases.get('a.db')!;
  // A checkpoint cuts the file to a commit that another connection's is behind by then: its pages are in the WAL.
  await db.run('DELETE FROM t WHERE rowid > 3');
  db.db.exec('VACUUM');
  const size = 1024 * (db.db.pragma('page_count', { simple: true }) as number);
  for (let i = 0; i < 5; i++) db.db.exec('INSERT INTO t VALUES (randomblob(900))');
  await db.follow();
  await on.quiet();
  await on.resize('a.db', size);
  const { first, last } = log;
  // Main hears of the change before it looks at the next commit, as when a node takes over.
  on.shared.takeAttention = () => -1;
  await db.run('INSERT INTO t VALUES (1)');
  on.release('a.db');
  await on.quiet();
  assert.is(log.last, last + 1);
  assert.is(log.first, first, 'the log was not cut');
  assert.is(replayLog(on, 'a.db'), db.content());
  assert.is(on.position('a.db')?.split('/')[1], db.content());
  assert.equal(on.warnings, []);
});

test('commits that are found together are one write to the log, and a transaction each', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  await on.quiet();
  const database = on.databases.get('a.db')!;
  const told: string[] = [];
  on.databases.subscribe({
    transaction: ({ position }, ltx) => {
      const { maxTxid, postApply } = decodeHeader(ltx!);
      assert.is(postApply, position.checksum);
      told.push(`${maxTxid} ${position.txid}`);
    },
  });
  const written: number[] = [];
  const append = database.log.append.bind(database.log);
  database.log.append = (txid, files) => {
    written.push(files.length);
    append(txid, files);
  };
  const before = database.position.txid;
  for (let i = 0; i < 40; i++) db.db.exec(`INSERT INTO t VALUES (${i})`);
  // Logged no more than noted: this commit changes no byte.
  db.db.exec('BEGIN; UPDATE t SET p = 4 WHERE rowid = 3; UPDATE t SET p = 2 WHERE rowid = 3; COMMIT');
  await db.follow();
  await on.quiet();
  assert.equal(
    told,
    Array.from({ length: 40 }, (_, i) => `${before + i + 1} ${before + i + 1}`),
  );
  assert.is(
    written.reduce((sum, count) => sum + count, 0),
    40,
  );
  assert.ok(written.length < 40, `${written}`);
  assert.is(database.state.walFrames, db.frames());
  assert.is(replayLog(on, 'a.db'), database.position.checksum.toString(16));
  assert.is(on.position('a.db')?.split('/')[1], db.content());

  database.log.append = () => {
    throw new Error('no space left');
  };
  for (let i = 0; i < 10; i++) db.db.exec(`INSERT INTO t VALUES (${i})`);
  await db.follow();
  await on.quiet();
  assert.is(on.position('a.db')?.split('/')[1], db.content());
  assert.is(database.log.first, database.log.last + 1);
});

test('a commit that was taken back is not logged again before the worker knows of it', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  await db.run('INSERT INTO t VALUES (1)');
  await on.quiet();
  const content = db.content();
  const end = 32 + db.frames() * (24 + 1024);
  await db.run('INSERT INTO t VALUES (2)');
  await on.quiet();
  const { txid } = on.databases.get('a.db')!.position;
  const handle = on.databases.handle.bind(on.databases);
  on.databases.handle = (message) => {
    handle(message);
    // The bell of an earlier commit, late: main looks into the WAL when it is done with the undoing.
    if (message.kind === 'undo') void on.databases.idle();
  };
  await on.write('a.db-wal', end, Buffer.alloc(24, 9));
  await on.quiet();
  const { position } = on.databases.get('a.db')!;
  assert.is(position.txid, txid + 1);
  assert.is(position.checksum.toString(16), content);
  assert.is(replayLog(on, 'a.db'), content);
});

test('the kernel is told to cache a WAL that begins afresh, once for each size', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  const grow = async (rows: number): Promise<void> => {
    for (let i = 0; i < rows; i++) await db.run('INSERT INTO t VALUES (randomblob(100000))');
    await db.run('PRAGMA wal_checkpoint(RESTART)');
    await db.run('INSERT INTO t VALUES (1)');
    await on.quiet();
  };
  await grow(1);
  assert.equal(on.cached, [], 'a small one is not worth it');
  on.canCache = false;
  await grow(5);
  on.canCache = true;
  await grow(1);
  assert.is(on.cached.length, 1, 'when it can be done');
  assert.is(on.cached[0]!.path, 'a.db-wal');
  assert.ok(on.cached[0]!.bytes > 500_000, `${on.cached[0]!.bytes}`);
  await grow(4);
  assert.is(on.cached.length, 1);
  await grow(12);
  assert.is(on.cached.length, 2);
  await db.run('PRAGMA wal_checkpoint(TRUNCATE)');
  await grow(5);
  await grow(1);
  assert.is(on.cached.length, 3, 'a cut file has lost what was cached');
});

test('a log that cannot be written is a cut, not a stop', async () => {
  const on = await bench();
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  await on.quiet();
  const database = on.databases.get('a.db')!;
  let resets = 0;
  on.databases.subscribe({ reset: () => resets++ });
  const append = database.log.append.bind(database.log);
  database.log.append = () => {
    throw new Error('no space left');
  };
  await db.run('INSERT INTO t VALUES (1)');
  await on.quiet();
  assert.is(on.position('a.db')?.split('/')[1], db.content());
  assert.is(database.problem?.error.code, 'LOG_WRITE');
  assert.is(resets, 1);
  assert.is(database.log.first, database.log.last + 1);
  database.log.append = append;
  await db.run('INSERT INTO t VALUES (2)');
  await on.quiet();
  assert.is(database.problem, undefined);
  assert.is(on.position('a.db')?.split('/')[1], db.content());
});

test('a database of which nothing can be kept does not stop its application', async () => {
  const on = await bench();
  const metaOf = on.folder.metaOf.bind(on.folder);
  on.folder.metaOf = () => {
    throw new Error('no space left');
  };
  const db = shadow(on, 'a.db', 'wal');
  await db.run('CREATE TABLE t (p)');
  await db.run('INSERT INTO t VALUES (1)');
  await db.run('PRAGMA wal_checkpoint(TRUNCATE)');
  await db.run('INSERT INTO t VALUES (2)');
  assert.ok(on.warnings.some((text) => text.includes('no space left')));
  on.folder.metaOf = metaOf;
  on.warnings.length = 0;
  const other = shadow(on, 'b.db', 'delete');
  await other.run('CREATE TABLE t (p)');
  await on.quiet();
  assert.is(on.position('b.db')?.split('/')[1], other.content());
});

test.run();
