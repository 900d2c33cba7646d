import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeWal, sampleDatabase } from '../soak/fuzz/targets/samples.js';
import { MountBench } from './support/mount-bench.js';
import { Shadow } from './support/shadow.js';

/** Databases that say that they are larger than they are: it may be so, or a lie that must not cost the node its life. */
const test = suite('sizes that databases claim');
const PAGE_SIZE = 4096;
const MOST = 0xffff_fffe;

let bench: MountBench;
test.before.each(async () => {
  bench = await new MountBench().start();
});
test.after.each(async () => {
  await bench.stop(false);
  bench.remove();
});

/** The longest time that main did nothing else, while `work` ran. */
async function longestTurnMs(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = process.cpuUsage();
  const look = (): void => {
    const { user, system } = process.cpuUsage(last);
    longest = Math.max(longest, (user + system) / 1000);
    last = process.cpuUsage();
  };
  const timer = setInterval(look, 1);
  await work();
  look();
  clearInterval(timer);
  return longest;
}

test('a WAL that commits pages that it does not write is taken in slices and in bounded memory', async () => {
  await bench.write('app.db', 0, sampleDatabase(PAGE_SIZE));
  bench.release('app.db');
  await bench.quiet();
  const pages = 20_000;
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }, 2);
  await bench.write('app.db-wal', 0, makeWal(PAGE_SIZE, [1, 2], pages));
  await bench.quiet();
  clearInterval(timer);
  assert.match(bench.position('app.db')!, /^0000000000000002\//);
  assert.is(bench.databases.get('app.db')?.pageCount, pages);
  assert.equal(bench.warnings, []);
  assert.ok(most > 0 && most < (pages * PAGE_SIZE) / 2, `${most} bytes`);
});

test('a WAL that commits more pages than there can be fails this database only, and at once', async () => {
  await bench.write('evil.db', 0, sampleDatabase(PAGE_SIZE));
  bench.release('evil.db');
  await bench.quiet();
  for (const commit of [MOST, 2 ** 28, 2 ** 21]) {
    const worst = await longestTurnMs(async () => {
      await bench.write('evil.db-wal', 0, makeWal(PAGE_SIZE, [1, 2], commit));
      await bench.quiet();
    });
    assert.ok(worst < 2000, `${worst} ms`);
    assert.match(bench.warnings.at(-1)!, /^evil.db: a transaction could not be captured: .*a database of \d+ pages/);
    await bench.resize('evil.db-wal', 0);
  }
  const shadow = new Shadow(bench, 'app.db', 'wal', PAGE_SIZE);
  await shadow.run('CREATE TABLE t (a); INSERT INTO t VALUES (1)');
  await bench.quiet();
  assert.match(bench.position('app.db')!, new RegExp(`/${shadow.content()}$`));
  shadow.close();
});

test('a file whose header says that it has more pages than it has is taken as it is', async () => {
  const database = sampleDatabase(PAGE_SIZE);
  database.writeUInt32BE(MOST, 28);
  await bench.write('evil.db', 0, database);
  bench.release('evil.db');
  await bench.quiet();
  assert.match(bench.position('evil.db')!, /^0000000000000001\//);
  assert.is(bench.databases.get('evil.db')?.pageCount, 2);
  assert.equal(bench.warnings, []);
});

test.run();
