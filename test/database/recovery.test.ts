import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DataFolder } from '../../src/database/data-folder.js';
import { Database } from '../../src/database/database.js';
import { recoverPrimary, recoverReplica } from '../../src/database/recovery.js';
import { SharedState } from '../../src/database/shared.js';
import { StateFile } from '../../src/database/state-file.js';
import { SumsFile } from '../../src/database/sums-file.js';
import { changedPage, TransactionWriter } from '../../src/database/transaction-writer.js';
import type { LogEntry } from '../../src/database/types.js';
import { bytesSource } from '../../src/ltx/index.js';
import { contentChecksum } from '../support/cluster.js';
import { MountBench } from './support/mount-bench.js';
import { makeOtherBoot } from './support/other-boot.js';
import { Shadow } from './support/shadow.js';

const test = suite('recovery');
const NAME = 'a.db';
const MODES = ['wal', 'delete'] as const;
let cleanUps: (() => void | Promise<void>)[] = [];

test.after.each(async () => {
  for (const each of cleanUps.reverse()) await each();
  cleanUps = [];
});

/** A primary with one database of some transactions; `db` goes on where it is. */
async function primary(mode: 'wal' | 'delete'): Promise<{ on: MountBench; db: Shadow }> {
  const on = new MountBench();
  cleanUps.push(() => on.remove());
  await on.start();
  const db = new Shadow(on, NAME, mode);
  cleanUps.push(() => db.close());
  await db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
  for (let i = 0; i < 5; i++) await db.run('INSERT INTO t (p) VALUES (randomblob(3000))');
  await on.quiet();
  // What was written before there was a WAL is a transaction at the last close.
  on.release(NAME);
  await on.quiet();
  return { on, db };
}

async function restart(on: MountBench, live = false): Promise<MountBench> {
  const next = new MountBench(on.root);
  await next.start(live);
  cleanUps.push(() => next.stop(false));
  await next.quiet();
  return next;
}

const meta = (on: MountBench, file: string): string => join(on.folder.metaOf(NAME), file);
const txid = (position: string | undefined): number => Number.parseInt(position!.split('/')[0]!, 16);

/** After a crash the state may be some transactions behind the log: those are replayed, the database is not read. */
const wasNotRead = (outcome: string | undefined): boolean => outcome === 'clean' || outcome === 'log replayed';

function keep(paths: readonly string[]): () => void {
  const kept = paths.map((path) => (existsSync(path) ? readFileSync(path) : undefined));
  return () => {
    for (const [i, path] of paths.entries()) {
      if (kept[i] === undefined) rmSync(path, { force: true });
      else writeFileSync(path, kept[i]!);
    }
  };
}

const dataFiles = (on: MountBench): string[] => ['', '-wal'].map((suffix) => on.backing(NAME + suffix));

test('after a clean stop, and after a crash of the process, nothing is read and the position is kept', async () => {
  for (const mode of MODES) {
    for (const clean of [true, false]) {
      const { on, db } = await primary(mode);
      const before = on.position(NAME);
      await on.stop(clean);
      const next = await restart(on);
      assert.ok(wasNotRead(next.outcome(NAME)), `${mode} ${clean}`);
      assert.is(next.position(NAME), before);
      assert.is(before?.split('/')[1], db.content());
      assert.is(next.databases.get(NAME)!.log.first, 1);
    }
  }
});

test('and the clean stop holds for the next boot of the machine too', async () => {
  const { on } = await primary('wal');
  const before = on.position(NAME);
  await on.stop(true);
  makeOtherBoot(meta(on, 'state'));
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'clean');
  assert.is(next.position(NAME), before);
});

test('a clean stop is not believed when the files are others since, in the same boot too', async () => {
  const { on } = await primary('delete');
  const before = on.position(NAME);
  await on.stop(true);
  const file = new Sqlite(on.backing(NAME));
  file.exec("UPDATE t SET p = 'x' WHERE id = 1");
  file.close();
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'changed while down');
  assert.is(txid(next.position(NAME)), txid(before) + 1);
  assert.is(next.position(NAME)?.split('/')[1], contentChecksum(on.backing(NAME)));
});

test('a file that only looks changed is read, and keeps its position', async () => {
  const { on } = await primary('delete');
  const before = on.position(NAME);
  await on.stop(true);
  utimesSync(on.backing(NAME), 1, 1);
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'read whole');
  assert.is(next.position(NAME), before);
});

test('transactions that were logged but not counted are taken from the log', async () => {
  for (const mode of MODES) {
    const { on, db } = await primary(mode);
    const undo = keep([meta(on, 'state')]);
    await db.run('INSERT INTO t (p) VALUES (randomblob(9000))');
    await db.run('DELETE FROM t WHERE id = 1');
    await on.quiet();
    const position = on.position(NAME);
    await on.stop(false);
    undo();
    const next = await restart(on);
    assert.is(next.outcome(NAME), 'log replayed', mode);
    assert.is(next.position(NAME), position);
    assert.is(position?.split('/')[1], db.content());
  }
});

test('a taking back that was logged but not counted leaves the WAL at the commit before it', async () => {
  const { on, db } = await primary('wal');
  on.release(NAME);
  await on.quiet();
  const wal = `${NAME}-wal`;
  const end = statSync(on.backing(wal)).size;
  await db.run('UPDATE t SET p = randomblob(20) WHERE id = 2');
  await on.quiet();
  const before = on.position(NAME)!;
  // As if the process died between the log and the state: before the next writer could overwrite the frames.
  const undo = keep([meta(on, 'state'), on.backing(wal)]);
  await on.write(wal, end, Buffer.alloc(24, 9));
  await on.quiet();
  assert.is(txid(on.position(NAME)), txid(before) + 1, 'it is taken back');
  await on.stop(false);
  undo();
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'log replayed');
  // The commit is in the WAL, so it counts again; those before it are in the log, once.
  assert.is(txid(next.position(NAME)), txid(before) + 2);
  assert.is(next.position(NAME)?.split('/')[1], before.split('/')[1]);
  assert.is(next.databases.get(NAME)!.log.first, 1);
});

test('a tail of the log with new WALs, growth, VACUUM and checkpoints in it comes out right', async () => {
  const { on, db } = await primary('wal');
  const undo = keep([meta(on, 'state'), meta(on, 'sums')]);
  for (const sql of [
    'INSERT INTO t (p) VALUES (randomblob(90000))',
    'PRAGMA wal_checkpoint(TRUNCATE)',
    'DELETE FROM t WHERE id > 2',
    'VACUUM',
    'PRAGMA wal_checkpoint(TRUNCATE)',
    'INSERT INTO t (p) VALUES (randomblob(30000))',
    'UPDATE t SET p = randomblob(5000)',
  ])
    await db.run(sql);
  await on.quiet();
  const position = on.position(NAME);
  await on.stop(false);
  undo();
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'log replayed');
  assert.is(next.position(NAME), position);
  assert.is(position?.split('/')[1], db.content());
  await db.follow();
  await next.stop(false);
  assert.is((await restart(on)).position(NAME), position);
});

test('after a crash of the machine a hole in the middle of the log ends it', async () => {
  const { on } = await primary('delete');
  await new Promise((resolve) => setTimeout(resolve, 300)); // the state is written by now
  const position = on.position(NAME)!;
  const { offset, size, path } = on.databases.get(NAME)!.log.location(3)!;
  await on.stop(false);
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.fill(0, offset + 150, offset + size));
  makeOtherBoot(meta(on, 'state'));
  const next = await restart(on);
  assert.is(next.position(NAME), position);
  const { log } = next.databases.get(NAME)!;
  assert.equal(
    [log.first, log.last],
    [txid(position) + 1, txid(position)],
    'who follows gets a snapshot, not the hole',
  );
});

test('page checksums of a transaction that is not logged yet are not written beside an older state', async () => {
  const { on } = await primary('wal');
  await on.stop(true);
  const { database, shared } = openAlone(on);
  cleanUps.push(() => database.close());
  database.resume(database.loadSums(database.pageSize, database.pageCount)!);
  const writer = new TransactionWriter(
    database,
    () => undefined,
    (error) => {
      throw error;
    },
  );
  const { pageSize } = database;
  const facts = { commit: 600, timeMs: 1 };
  const page = Buffer.alloc(pageSize, 1);
  const all = (): Uint32Array => Uint32Array.from({ length: 600 }, (_, i) => i + 1);
  await writer.writeLarge(all(), (_pgno, target, at) => page.copy(target, at), facts, false);
  // A small one, of which state and checksums are written later: while the next, a large one, is being read.
  assert.ok(writer.writeSmall([changedPage(1, Buffer.alloc(pageSize, 2))], facts));
  const { txid: at } = database.position;
  let read = 0;
  const seen: (bigint | undefined)[] = [];
  await writer.writeLarge(
    all(),
    (_pgno, target, offset) => {
      target.fill(3, offset, offset + pageSize);
      if (++read === 200) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      if (read !== 500) return;
      const copy = mkdtempSync(join(tmpdir(), 'sluice-state-'));
      for (const file of ['state', 'sums']) copyFileSync(meta(on, file), join(copy, file));
      const state = new StateFile(join(copy, 'state'));
      const sums = new SumsFile(join(copy, 'sums'));
      assert.is(state.found?.txid, at);
      seen.push(state.found?.checksum, sums.load(pageSize, 600)?.checksum());
      state.close();
      sums.close();
      rmSync(copy, { recursive: true });
    },
    facts,
    false,
  );
  assert.is(seen.length, 2);
  assert.is(seen[0], seen[1]);
  assert.is(shared.position(0).txid, at + 1);
});

test('commits in the WAL that were not logged are logged', async () => {
  const { on, db } = await primary('wal');
  const files = [meta(on, 'state'), meta(on, 'sums'), meta(on, '0000000000000001.log')];
  const undo = keep(files);
  const position = on.position(NAME);
  await db.run('INSERT INTO t (p) VALUES (randomblob(9000))');
  await on.quiet();
  const later = on.position(NAME);
  await on.stop(false);
  undo();
  const next = await restart(on);
  assert.ok(wasNotRead(next.outcome(NAME)));
  assert.is(next.position(NAME), later);
  assert.is(txid(later), txid(position) + 1);
  assert.is(next.databases.get(NAME)!.log.last, txid(later));
});

test('page checksums that are cut are made again', async () => {
  const { on } = await primary('wal');
  const position = on.position(NAME);
  await on.stop(false);
  writeFileSync(meta(on, 'sums'), readFileSync(meta(on, 'sums')).subarray(0, 5));
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'read whole');
  assert.is(next.position(NAME), position);
  assert.is(next.databases.get(NAME)!.log.first, 1, 'the log is kept');
});

test('a file that is what the database was once is not brought forward, if it took the place of another', async () => {
  for (const mode of MODES) {
    const { on, db } = await primary(mode);
    const early = keep(dataFiles(on));
    for (let i = 0; i < 3; i++) await db.run('INSERT INTO t (p) VALUES (randomblob(5000))');
    await on.quiet();
    const position = on.position(NAME);
    await on.stop(false);
    // A copy of before, moved into place; of what the node did then, the machine's end left the mark only.
    early();
    const content = contentChecksum(on.backing(NAME));
    on.folder.marks.setDurably(NAME);
    makeOtherBoot(meta(on, 'state'));
    const next = await restart(on);
    assert.is(next.outcome(NAME), 'changed while down', mode);
    assert.is(contentChecksum(next.backing(NAME)), content, 'what took its place stays');
    assert.is(txid(next.position(NAME)), txid(position) + 1);
    assert.is(next.folder.marks.has(NAME), false);
  }
});

test('the log of a database that was removed is not believed of one that came in its place', async () => {
  const { on, db } = await primary('delete');
  const early = keep(dataFiles(on));
  await db.run('INSERT INTO t (p) VALUES (randomblob(5000))');
  await on.quiet();
  const position = on.position(NAME);
  const log = keep([meta(on, '0000000000000001.log')]);
  await on.unlink(NAME);
  await on.quiet();
  await on.stop(false);
  // The removal of the log did not come to the disk, the state did.
  log();
  early();
  makeOtherBoot(meta(on, 'state'));
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'changed while down');
  assert.is(txid(next.position(NAME)), txid(position) + 1);
});

test('a log that goes on after the clean stop that the state tells of is verified', async () => {
  const { on, db } = await primary('delete');
  await on.stop(true);
  const clean = keep([meta(on, 'state'), ...dataFiles(on)]);
  const times = statSync(on.backing(NAME));
  const again = await restart(on);
  const later = again.databases.get(NAME)!;
  await new Shadow(again, NAME, 'delete').run('CREATE TABLE other (a); INSERT INTO other VALUES (randomblob(3000))');
  await again.quiet();
  const { path, offset, size } = later.log.location(later.log.last)!;
  await again.stop(false);
  db.close();
  // Neither the database file nor the state came to the disk, and of the log a part.
  clean();
  utimesSync(on.backing(NAME), times.atimeMs / 1000, times.mtimeMs / 1000);
  const bytes = readFileSync(path);
  bytes.fill(0, offset + size - 600, offset + size - 300);
  writeFileSync(path, bytes);
  makeOtherBoot(meta(on, 'state'));
  const next = await restart(on);
  assert.equal(next.warnings, []);
  assert.ok(next.position(NAME)?.endsWith(contentChecksum(next.backing(NAME))));
});

test('a file without its first bytes, whose journal takes back its first transaction, is none', async () => {
  const { on } = await primary('delete');
  await on.stop(false);
  // Magic, no records, a nonce, no pages before, sectors of 512 bytes, pages of 1024.
  const journal = Buffer.alloc(512);
  journal.write('d9d505f920a163d7', 'hex');
  for (const [at, value] of [0, 7, 0, 512, 1024].entries()) journal.writeUInt32BE(value, 8 + 4 * at);
  writeFileSync(on.backing(`${NAME}-journal`), journal);
  writeFileSync(on.backing(NAME), Buffer.alloc(1024));
  makeOtherBoot(meta(on, 'state'));
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'gone');
  assert.is(next.position(NAME), undefined);
  assert.is(existsSync(next.backing(`${NAME}-journal`)), false);
});

test('a database that lost its last transactions with the machine has them again from the log', async () => {
  for (const mode of MODES) {
    const { on, db } = await primary(mode);
    const undo = keep(dataFiles(on));
    for (let i = 0; i < 3; i++) await db.run('INSERT INTO t (p) VALUES (randomblob(5000))');
    await on.quiet();
    const position = on.position(NAME);
    await on.stop(false);
    undo();
    makeOtherBoot(meta(on, 'state'));
    const next = await restart(on);
    assert.is(next.outcome(NAME), 'redone from the log', mode);
    assert.is(next.position(NAME), position);
    assert.is(contentChecksum(on.backing(NAME)), db.content());
  }
});

test('when that is cut short by another crash, the next start begins it again', async () => {
  for (const mode of MODES) {
    const { on, db } = await primary(mode);
    const undo = keep(dataFiles(on));
    await db.run("UPDATE t SET p = 'short' WHERE id = 1");
    await db.run('UPDATE t SET p = randomblob(150000)');
    await on.quiet();
    const position = on.position(NAME)!;
    const { first } = on.databases.get(NAME)!.log;
    await on.stop(false);
    undo();
    makeOtherBoot(meta(on, 'state'));

    const { database } = openAlone(on);
    let opened = 0;
    const get = database.log.get.bind(database.log);
    // Verified first; then half of the last transaction's pages are written when the machine stops.
    database.log.get = (wanted) => {
      const entry = get(wanted);
      return wanted < txid(position) ? entry : Object.assign(entry!, { open: () => cutShort(entry!, ++opened > 1) });
    };
    const error = await recoverPrimary(database, false, { files: on.folder.files, mountPath: '/nowhere' }).then(
      () => undefined,
      (reason: Error) => reason.message,
    );
    assert.is(error, 'killed', mode);
    database.close();

    const next = await restart(on);
    assert.is(next.outcome(NAME), 'redone from the log', mode);
    assert.is(next.position(NAME), position, mode);
    assert.is(contentChecksum(on.backing(NAME)), db.content(), mode);
    assert.is(next.databases.get(NAME)!.log.first, first, 'the log is kept');
    assert.is(next.databases.get(NAME)!.state.redoFrom, 0);
  }
});

test('a redo that was cut short is not gone on with under applications', async () => {
  const { on, db } = await primary('delete');
  await on.quiet();
  const position = on.position(NAME)!;
  on.databases.get(NAME)!.beginRedo(txid(position));
  await on.stop(false);
  const before = readFileSync(on.backing(NAME));
  const live = await restart(on, true);
  assert.is(live.databases.get(NAME)!.problem?.error.code, 'RECOVERY_FAILED');
  assert.equal(readFileSync(on.backing(NAME)), before);
  await live.stop(false);
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'redone from the log');
  assert.is(next.position(NAME), position);
  assert.is(next.databases.get(NAME)!.problem, undefined);
  assert.is(contentChecksum(on.backing(NAME)), db.content());
});

test('a state of no known position is a new one, and who follows needs a snapshot', async () => {
  const { on } = await primary('delete');
  const position = on.position(NAME);
  await on.stop(false);
  makeOtherBoot(meta(on, 'state'));
  const file = new Sqlite(on.backing(NAME));
  file.exec("UPDATE t SET p = 'x' WHERE id = 1");
  file.close();
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'changed while down');
  assert.is(txid(next.position(NAME)), txid(position) + 1);
  const { log } = next.databases.get(NAME)!;
  assert.equal([log.first, log.last], [txid(position) + 2, txid(position) + 1]);
});

test('a hot journal is played back before anyone is served, and what that changed is a transaction', async () => {
  const { on, db } = await primary('delete');
  const before = on.position(NAME);
  // A transaction that main has logged, whose journal was still there when everything died.
  const file = new Sqlite(db.path);
  file.pragma('cache_size = 2');
  file.exec('BEGIN; UPDATE t SET p = randomblob(2500)');
  const images = [readFileSync(db.path), readFileSync(`${db.path}-journal`)];
  file.exec('ROLLBACK');
  file.close();
  await on.stop(false);
  writeFileSync(on.backing(NAME), images[0]!);
  writeFileSync(on.backing(`${NAME}-journal`), images[1]!);
  const next = await restart(on);
  assert.is(next.outcomes[0]?.compare, true);
  assert.is(existsSync(on.backing(`${NAME}-journal`)), false);
  assert.is(next.position(NAME)?.split('/')[1], contentChecksum(on.backing(NAME)));
  assert.ok(txid(next.position(NAME)) - txid(before) <= 1);
  assert.is(next.position(NAME)?.split('/')[1], db.content());
});

test('a journal that takes back the first transaction leaves no database, of which later ones go on', async () => {
  const journal = Buffer.alloc(512);
  // No records; the database had 0 pages; sectors of 512 bytes, pages of 1024.
  Buffer.from('d9d505f920a163d70000000000000000000000000000020000000400', 'hex').copy(journal);
  for (const side of ['primary', 'replica'] as const) {
    const { on, db } = await primary('delete');
    const undo = keep([meta(on, 'state')]);
    await db.run('DELETE FROM t');
    await on.quiet();
    const before = on.position(NAME)!;
    await on.stop(false);
    undo(); // as if the transaction was logged but not counted
    db.close();
    writeFileSync(on.backing(`${NAME}-journal`), journal);
    makeOtherBoot(meta(on, 'state'));
    if (side === 'replica') {
      const { database, outcome } = await replicaOf(on);
      assert.is(outcome, 'gone');
      assert.is(database.live, false);
      continue;
    }
    const next = await restart(on);
    assert.equal(next.warnings, []);
    assert.is(next.outcome(NAME), 'gone');
    assert.is(next.position(NAME), undefined);
    await next.stop(true);
    const again = await restart(on);
    const newer = new Shadow(again, NAME, 'delete');
    await newer.run('CREATE TABLE u (a)');
    await again.quiet();
    assert.is(again.position(NAME)?.split('/')[1], newer.content());
    assert.ok(txid(again.position(NAME)) > txid(before));
    newer.close();
  }
});

test('when the mount lives on, a transaction under way is left to its application', async () => {
  const { on, db } = await primary('delete');
  const before = on.position(NAME);
  await on.write(`${NAME}-journal`, 0, Buffer.from('d9d505f920a163d70000000000000000000000000000020000000400', 'hex'));
  const old = Buffer.from(readFileSync(on.backing(NAME)).subarray(1024, 2048));
  await on.write(NAME, 1024, Buffer.alloc(1024, 1));
  await on.stop(false);
  const next = await restart(on, true);
  assert.ok(wasNotRead(next.outcome(NAME)));
  assert.is(next.position(NAME), before);
  await next.write(NAME, 1024, old);
  await next.unlink(`${NAME}-journal`);
  await next.quiet();
  assert.is(next.position(NAME), before);
  assert.is(before?.split('/')[1], db.content());
});

test('what is new, gone, emptied, or no database any more', async () => {
  const { on } = await primary('wal');
  const position = on.position(NAME);
  await on.stop(true);
  mkdirSync(join(on.folder.files, 'sub'));
  copyFileSync(on.backing(NAME), on.backing('sub/copy.db'));
  copyFileSync(on.backing(`${NAME}-wal`), on.backing('sub/copy.db-wal'));
  const content = contentChecksum(on.backing(NAME));
  rmSync(on.backing(NAME));
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'gone');
  assert.is(next.databases.get(NAME), undefined);
  assert.is(next.outcome('sub/copy.db'), 'new');
  assert.is(next.position('sub/copy.db'), `0000000000000001/${content}`);
  await next.stop(true);

  const third = await restart(on);
  assert.is(third.outcome(NAME), 'no database');
  assert.is(third.outcome('sub/copy.db'), 'clean');
  await third.stop(true);

  // The name comes back: its TXIDs go on.
  copyFileSync(on.backing('sub/copy.db'), on.backing(NAME));
  const fourth = await restart(on);
  assert.is(txid(fourth.position(NAME)), txid(position) + 1);
  await fourth.stop(true);

  writeFileSync(on.backing(NAME), 'this is no database, but it is not empty either');
  const fifth = await restart(on);
  assert.is(fifth.outcome(NAME), 'not a database');
  assert.is(fifth.databases.every().find(({ name }) => name === NAME)?.problem?.error.code, 'DATABASE_DAMAGED');
  assert.is(fifth.outcome('sub/copy.db'), 'clean');
});

test('a snapshot that the worker does not answer any more is granted when it has ended', async () => {
  const { on } = await primary('wal');
  await on.quiet();
  on.watcher.woken = () => undefined;
  const database = on.databases.get(NAME)!;
  const asked = database.snapshot();
  on.databases.workerEnded();
  for (const snapshot of [await asked, await database.snapshot()]) {
    let bytes = 0;
    for await (const chunk of snapshot.chunks()) bytes += chunk.length;
    assert.ok(bytes > 0);
    assert.equal(snapshot.position, database.position);
    snapshot.close();
  }
});

test('a folder that has the name of a database, of its WAL or of its journal is none of them', async () => {
  const { on } = await primary('wal');
  await on.stop(true);
  for (const suffix of ['', '-wal', '-journal']) {
    rmSync(on.backing(NAME + suffix), { force: true });
    mkdirSync(on.backing(NAME + suffix));
  }
  const next = await restart(on);
  assert.is(next.outcome(NAME), 'gone');
  assert.is(next.databases.get(NAME), undefined);
});

test('one database that cannot be recovered does not stop the others', async () => {
  const { on } = await primary('delete');
  const position = on.position(NAME);
  await on.stop(false);
  const broken = on.folder.metaOf('broken.db');
  copyFileSync(on.backing(NAME), on.backing('broken.db'));
  copyFileSync(meta(on, 'state'), join(broken, 'state'));
  writeFileSync(join(broken, '0000000000000001.log'), readFileSync(meta(on, '0000000000000001.log')).fill(255, 16, 60));
  copyFileSync(meta(on, 'sums'), join(broken, 'sums'));
  makeOtherBoot(join(broken, 'state'));
  const next = await restart(on);
  assert.is(next.position(NAME), position);
  assert.ok(next.databases.get('broken.db') !== undefined);
});

test('a lost name, or something strange where its state is kept, is one database’s trouble', async () => {
  const { on } = await primary('delete');
  const position = on.position(NAME);
  await on.stop(true);
  for (const name of ['stray.db', 'refused.db']) copyFileSync(on.backing(NAME), on.backing(name));
  writeFileSync(meta(on, 'name'), '');
  writeFileSync(join(on.folder.metaOf('stray.db'), 'x.log'), 'no segment');
  mkdirSync(join(on.folder.metaOf('refused.db'), 'state'));
  const next = await restart(on);
  assert.is(next.position(NAME), position);
  assert.is(next.outcome('stray.db'), 'new');
  assert.equal(
    next.databases.refusals().map(({ name, error }) => [name, error.code]),
    [['refused.db', 'DATABASE_REFUSED']],
  );
  // It works, and is replicated once that is put right.
  await next.write('refused.db', 0, readFileSync(next.backing('refused.db')).subarray(0, 1024));
  rmSync(join(on.folder.metaOf('refused.db'), 'state'), { recursive: true });
  await new Promise((resolve) => setTimeout(resolve, 5100));
  next.release('refused.db');
  await next.quiet();
  assert.is(next.position('refused.db')?.split('/')[1], contentChecksum(next.backing('refused.db')));
  assert.equal(next.databases.refusals(), []);
});

/** What is read of an entry: all of it, or, `short`, its first pages. */
function cutShort(entry: LogEntry, short: boolean): ReturnType<LogEntry['open']> {
  const bytes = bytesSource(entry.bytes());
  return {
    close: () => undefined,
    source: {
      size: bytes.size,
      read(target, targetOffset, length, position) {
        if (short && position > 0) throw new Error('killed');
        return bytes.read(target, targetOffset, length, position);
      },
    },
  };
}

/** The database of that folder without a node. */
function openAlone(on: MountBench): { database: Database; shared: SharedState } {
  const shared = new SharedState();
  return {
    database: new Database(NAME, 0, new DataFolder(on.root), shared, () => Promise.reject(new Error('none'))),
    shared,
  };
}

/** A replica's side of the same folder. */
async function replicaOf(on: MountBench): Promise<{ database: Database; outcome: string; shared: SharedState }> {
  const { database, shared } = openAlone(on);
  cleanUps.push(() => database.close());
  const { outcome } = await recoverReplica(database, false, { files: on.folder.files, mountPath: '/mnt' });
  return { database, outcome, shared };
}

test('a replica goes on where it was, and shows it', async () => {
  const { on } = await primary('wal');
  const position = on.position(NAME)!;
  await on.stop(true);
  const { database, outcome, shared } = await replicaOf(on);
  assert.is(outcome, 'clean');
  assert.is(database.position.txid, txid(position));
  assert.is(shared.position(0).txid, txid(position));
  assert.is(database.state.clean, false);
});

test('a replica whose last step was a snapshot takes the next transaction', async () => {
  const { on } = await primary('wal');
  const position = on.position(NAME)!;
  on.databases.get(NAME)!.log.cut(txid(position));
  await on.stop(true);
  const { database, outcome } = await replicaOf(on);
  assert.is(outcome, 'clean');
  assert.is(database.log.last, txid(position));
  assert.is(database.log.first, txid(position) + 1);
});

test('a replica whose files are others has a checksum that the primary does not know', async () => {
  const { on } = await primary('delete');
  const position = on.position(NAME)!;
  await on.stop(true);
  const file = new Sqlite(on.backing(NAME));
  file.exec("UPDATE t SET p = 'x' WHERE id = 1");
  file.close();
  const { database, outcome } = await replicaOf(on);
  assert.is(outcome, 'read whole');
  assert.is(database.position.checksum.toString(16), contentChecksum(on.backing(NAME)));
  assert.is.not(database.position.checksum.toString(16), position.split('/')[1]);
});

test('a replica plays back a journal that came back with the power before it says where it is', async () => {
  const { on, db } = await primary('delete');
  const before = on.position(NAME)!;
  // Its database file was made durable with the next transaction, the end of the journal was not.
  const copy = on.backing('../copy');
  copyFileSync(db.path, copy);
  const file = new Sqlite(copy);
  file.pragma('journal_mode = PERSIST');
  file.pragma('synchronous = OFF'); // the header is whole from the start
  file.exec('BEGIN; UPDATE t SET p = randomblob(3000)');
  const header = readFileSync(`${copy}-journal`).subarray(0, 28);
  file.exec('COMMIT'); // fills the header with zeros
  file.close();
  const journal = readFileSync(`${copy}-journal`);
  header.copy(journal);
  await db.run('UPDATE t SET p = randomblob(3000)');
  await on.quiet();
  const after = on.position(NAME)!;
  assert.is(txid(after), txid(before) + 1);
  await on.stop(false);
  writeFileSync(on.backing(`${NAME}-journal`), journal);
  makeOtherBoot(meta(on, 'state'));
  const { database } = await replicaOf(on);
  assert.is(existsSync(on.backing(`${NAME}-journal`)), false);
  assert.is(database.position.checksum.toString(16), contentChecksum(on.backing(NAME)));
  assert.is(database.position.txid, txid(before), 'what the log has beyond it is applied again');
  assert.is(database.log.last, txid(after));
});

test('a replica with applications on it does not touch their journal, nor believe its files', async () => {
  const { on, db } = await primary('delete');
  await on.stop(false);
  const file = new Sqlite(db.path);
  file.pragma('synchronous = OFF');
  file.exec('BEGIN; UPDATE t SET p = 1');
  writeFileSync(on.backing(`${NAME}-journal`), readFileSync(`${db.path}-journal`));
  file.exec('ROLLBACK');
  file.close();
  makeOtherBoot(meta(on, 'state'));
  const database = new Database(NAME, 0, on.folder, new SharedState(), () => Promise.reject(new Error('none')));
  cleanUps.push(() => database.close());
  assert.is(
    await recoverReplica(database, true, { files: on.folder.files, mountPath: '/mnt' }).then(
      () => 'recovered',
      ({ code }) => code,
    ),
    'RECOVERY_FAILED',
  );
  assert.ok(existsSync(on.backing(`${NAME}-journal`)));
});

test('a replica that is found at a position that it received still knows whose it is', async () => {
  const { on } = await primary('wal');
  await on.stop(true);
  const first = await replicaOf(on);
  first.database.confirm(7n);
  makeOtherBoot(meta(on, 'state'));
  const second = await replicaOf(on);
  assert.is(second.outcome, 'read whole');
  assert.is(second.database.state.origin, 7n);
  makeOtherBoot(meta(on, 'state'));
  const file = new Sqlite(on.backing(NAME));
  file.exec("UPDATE t SET p = 'x' WHERE id = 1");
  file.close();
  const third = await replicaOf(on);
  assert.is(third.database.state.origin, 0n, 'its files are others');
});

test('a replica that lost its page checksums finds its position in the log', async () => {
  const { on } = await primary('wal');
  const position = on.position(NAME)!;
  await on.stop(false);
  rmSync(meta(on, 'sums'));
  const { database, outcome } = await replicaOf(on);
  assert.is(outcome, 'read whole');
  assert.is(database.position.txid, txid(position));
  assert.is(database.log.last, txid(position));
  assert.ok(existsSync(dirname(meta(on, 'sums'))));
});

test('a WAL that begins afresh while it is read, because applications went on, is read once more', async () => {
  const { on, db } = await primary('wal');
  await db.run('PRAGMA wal_checkpoint(PASSIVE)');
  await on.quiet();
  await on.stop(false);
  rmSync(meta(on, 'sums'), { force: true });
  const { database } = openAlone(on);
  const recovering = recoverPrimary(database, true, { files: on.folder.files, mountPath: '/nowhere' });
  // All of it is in the file, so the next commit begins it afresh.
  db.db.exec("UPDATE t SET p = 'other'");
  copyFileSync(`${db.path}-wal`, on.backing(`${NAME}-wal`));
  await recovering;
  assert.is(database.position.checksum.toString(16), db.content());
  database.close();
});

test('a new database with its WAL is taken before the mount answers', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-new-'));
  cleanUps.push(() => rmSync(folder, { recursive: true }));
  const db = new Sqlite(join(folder, NAME));
  db.pragma('journal_mode = WAL');
  db.exec('CREATE TABLE t (p); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)');
  const on = new MountBench();
  cleanUps.push(() => on.remove());
  for (const suffix of ['', '-wal']) copyFileSync(join(folder, NAME + suffix), on.backing(NAME + suffix));
  db.close();
  await on.start();
  cleanUps.push(() => on.stop(false));
  assert.equal(on.warnings, []);
  const { position } = on.databases.get(NAME)!;
  assert.equal(position, { txid: 1, checksum: BigInt(`0x${contentChecksum(on.backing(NAME))}`) });
  await on.quiet();
  assert.equal(on.databases.get(NAME)!.position, position);
});

test.run();
