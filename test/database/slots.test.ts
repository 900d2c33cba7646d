import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KEEP_DROPPED_MS } from '../../src/database/dropped-databases.js';
import { contentChecksum, waitFor } from '../support/cluster.js';
import { MountBench } from './support/mount-bench.js';

/** More names than slots: databases come and go, and each is the node's whole business while it is there. */
const test = suite('slots');
const SLOTS = 4;
/** Databases made and removed; 10000 in a long run. */
const CYCLES = Number(process.env.SLUICE_TEST_ROUNDS ?? 200);
const benches: MountBench[] = [];
let bytes: Buffer;

async function bench(root?: string, slots = SLOTS): Promise<MountBench> {
  const made = new MountBench(root, undefined, slots);
  benches.push(made);
  return made.start();
}

test.before(async () => {
  const scratch = new MountBench();
  const path = scratch.backing('x');
  const db = new Sqlite(path);
  db.exec('PRAGMA page_size = 1024; CREATE TABLE t (p); INSERT INTO t VALUES (1)');
  db.close();
  bytes = readFileSync(path);
  scratch.remove();
});
test.after.each(async () => {
  for (const each of benches.splice(0).reverse()) {
    await each.stop(false);
    each.remove();
  }
});

/** As `cp` does: from nothing to a database. */
async function copyIn(on: MountBench, name: string): Promise<void> {
  await on.write(name, 0, bytes);
  on.release(name);
  await on.quiet();
}

const limited = (on: MountBench): string[] =>
  on.databases
    .refusals()
    .filter(({ error }) => error.code === 'DATABASE_LIMIT')
    .map(({ name }) => name);

const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('more databases than slots, one after the other: each is logged, and none leaves anything open', async () => {
  const on = await bench();
  await copyIn(on, 'stays.db');
  const before = descriptors();
  for (let n = 0; n < CYCLES; n++) {
    const name = `temporary-${n}.db`;
    await copyIn(on, name);
    assert.match(on.position(name) ?? '', /^0000000000000001\//, name);
    assert.is(on.databases.get(name)?.log.last, 1);
    await on.unlink(name);
    await on.quiet();
    assert.is(on.databases.get(name), undefined);
  }
  assert.is(on.databases.every().length, 1);
  assert.ok(on.databases.slots().every(({ slot }) => slot < SLOTS));
  assert.equal(limited(on), []);
  assert.equal(on.warnings, []);
  await waitFor(
    () => descriptors() <= before,
    15_000,
    'the descriptors of their logs, which are closed a little later',
  );
  assert.is(on.position('stays.db')?.split('/')[1], contentChecksum(on.backing('stays.db')));
});

test('one that comes back goes on with its TXIDs, in whatever slot', async () => {
  const on = await bench();
  for (const name of ['a', 'b', 'c', 'd']) await copyIn(on, name);
  const dropped: string[] = [];
  const opened: string[] = [];
  on.databases.subscribe({ dropped: (name) => dropped.push(name), opened: ({ name }) => opened.push(name) });
  await on.unlink('a');
  await on.quiet();
  await copyIn(on, 'e');
  await on.unlink('b');
  await on.quiet();
  await copyIn(on, 'a');
  assert.equal(dropped, ['a', 'b']);
  assert.equal(opened, ['e', 'a']);
  assert.match(on.position('a')!, /^0000000000000002\//);
  // Removed and made again without a pause: main is still at the drop.
  await on.unlink('a');
  await on.write('a', 0, bytes);
  on.release('a');
  await on.quiet();
  assert.match(on.position('a')!, /^0000000000000003\//);
  assert.equal(dropped, ['a', 'b', 'a']);
  assert.equal(opened, ['e', 'a', 'a']);
  assert.equal(on.warnings, []);
});

test('one too many is said in the status and the log, works, and is taken when there is room', async () => {
  const on = await bench();
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await copyIn(on, name);
  assert.equal(limited(on), ['e', 'f']);
  assert.is(on.warnings.length, 2);
  assert.match(on.warnings[0]!, 'e: it is not replicated: this node has 4 databases');
  assert.equal(readFileSync(on.backing('e')), bytes);
  await on.unlink('f');
  assert.equal(limited(on), ['e']);
  await on.unlink('b');
  await on.quiet();
  await on.write('e', 0, bytes.subarray(0, 1024));
  on.release('e');
  await on.quiet();
  assert.equal(limited(on), []);
  assert.is(on.position('e')?.split('/')[1], contentChecksum(on.backing('e')));
});

test('a start with more than that replicates as many as it can', async () => {
  const first = await bench(undefined, 16);
  for (let n = 0; n < 12; n++) await copyIn(first, `gone-${n}`);
  for (let n = 0; n < 12; n++) await first.unlink(`gone-${n}`);
  for (let n = 0; n < SLOTS; n++) await copyIn(first, `here-${n}`);
  await first.quiet();
  await first.databases.saveClean();
  const second = await bench(first.root);
  assert.equal(limited(second), [], 'those that are gone take no slot');
  for (let n = 0; n < SLOTS; n++) assert.is(second.outcome(`here-${n}`), 'clean');
  await second.stop(true);

  for (let n = 0; n < 3; n++) writeFileSync(first.backing(`more-${n}`), bytes);
  const third = await bench(first.root);
  assert.is(limited(third).length, 3);
  assert.is([...third.databases.all()].length, SLOTS);
  // One whose file went while the node was down frees its slot too.
  await third.stop(true);
  rmSync(first.backing('here-0'));
  const fourth = await bench(first.root);
  assert.is(fourth.outcome('here-0'), 'gone');
  assert.is(limited(fourth).length, 2);
});

test('a snapshot that is asked for a database is never another one’s', async () => {
  const on = await bench();
  for (const name of ['a', 'b', 'c', 'd']) await copyIn(on, name);
  const a = on.databases.get('a')!;
  // The worker reads main's messages when it is woken: here, when another has the slot.
  const woken = on.watcher.woken.bind(on.watcher);
  on.watcher.woken = () => undefined;
  const snapshot = a.snapshot().then(
    () => 'taken',
    (error: Error) => error.message,
  );
  await on.unlink('a');
  await on.quiet();
  await copyIn(on, 'e');
  assert.is(on.databases.get('e')!.slot, a.slot);
  on.watcher.woken = woken;
  on.watcher.woken();
  assert.is(await snapshot, 'the database was removed');
  assert.is(await a.snapshot().catch((error: Error) => error.message), 'a was removed');
});

test('what is kept of one that was dropped long ago is removed', async () => {
  const on = await bench();
  for (const name of ['old', 'new', 'open']) await copyIn(on, name);
  for (const name of ['old', 'new']) await on.unlink(name);
  await on.quiet();
  const ago = new Date(Date.now() - KEEP_DROPPED_MS - 1000);
  for (const name of ['old', 'open']) utimesSync(join(on.folder.metaOf(name), 'state'), ago, ago);
  on.databases.prune({ ageMs: 1e12, sizeBytes: 1e12 });
  await on.quiet();
  assert.equal(readdirSync(on.folder.meta).sort(), ['new', 'open']);
});

test.run();
