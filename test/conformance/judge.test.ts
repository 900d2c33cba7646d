import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { freshFolder, startPrimary, startReplica, stopAll, waitFor, waitUntilSame } from '../support/cluster.js';
import { compareLeftOver } from './left-over.js';
import { runLimited } from './limited-run.js';
import { complaints } from './outcome.js';
import { judgeTcl, readBaseline, readList } from './tcl-suite.js';

/** The judges of this folder are judged: what is wrong must not pass. */

test.after(stopAll);

test('a test that passed', () => {
  const output = 'wal-1.1... Ok\nwal-1.2... Ok\nSQLite 2022-12-28\n0 errors out of 2 tests on host Linux 64-bit\n';
  assert.equal(judgeTcl(output, 'exit'), { cases: 2, failed: [] });
});

test('cases that fail, also those that are not named', () => {
  const output = '3 errors out of 9 tests on host\n!Failures on these tests: wal-1.1 wal-8.2\n';
  assert.equal(judgeTcl(output, 'exit'), { cases: 9, failed: ['wal-1.1', 'wal-8.2', '1 more'] });
});

test('a test that does not come to its last line', () => {
  const output = 'a-1... Ok\n! a-2 expected: [1]\n! a-2 got:      [2]\na-3... Ok\ndisk I/O error\n';
  assert.equal(judgeTcl(output, 'exit'), { cases: 3, failed: ['a-2'], problem: 'ended early: disk I/O error' });
  assert.match(judgeTcl(output, 'timeout').problem!, /^took too long/);
  assert.match(judgeTcl('', 'hung').problem!, /^hangs in the file system/);
});

test('what fails on ext4 too is no complaint; what is new, missing, or wrong as a whole is one', () => {
  const baseline = { cases: 100, failed: ['known'] };
  const outcome = { cases: 100, failed: ['known'], seconds: 1 };
  assert.equal(complaints(outcome, baseline), []);
  assert.equal(complaints({ ...outcome, failed: ['known', 'new'] }, baseline), ['new']);
  assert.equal(complaints({ ...outcome, cases: 89 }, baseline), ['89 cases, but 100 on ext4']);
  assert.equal(complaints({ ...outcome, problem: 'ended early' }, baseline), ['ended early']);
  assert.equal(complaints(outcome, undefined), ['known']);
  assert.equal(complaints({ cases: 0, failed: [], seconds: 1 }, undefined), ['it ran no case']);
});

test('what passed on ext4 and is left out elsewhere, though there are as many cases', () => {
  const baseline = { cases: 2, failed: [], passed: ['one', 'two'] };
  const outcome = { cases: 2, failed: [], passed: ['one', 'two'], skipped: [], seconds: 1 };
  assert.equal(complaints(outcome, baseline), []);
  assert.equal(complaints({ ...outcome, passed: ['one', 'three'] }, baseline), ['two did not run']);
  assert.equal(complaints({ ...outcome, passed: ['one', 'three'], skipped: ['two'] }, baseline), ['two was skipped']);
  assert.equal(complaints({ ...outcome, passed: ['one'], failed: ['two'] }, baseline), ['two']);
});

test('every listed test has a baseline', () => {
  for (const lockBytes of ['real', 'stock'] as const) {
    const baseline = readBaseline(lockBytes);
    const missing = ['core', 'extra', 'ci', 'ci-locks'].flatMap(readList).filter((name) => !baseline.has(name));
    assert.equal(missing, [], lockBytes);
  }
});

test('a program that does not end is killed with all that it started', async () => {
  const logFile = join(freshFolder('limited'), 'log');
  const command = ['sh', '-c', 'sleep 300 & echo $!; sleep 300'];
  const run = await runLimited(command, { cwd: '/', logFile, limitMs: 500 });
  assert.is(run.end, 'timeout');
  const pid = Number(run.output.trim());
  assert.ok(pid > 0);
  await waitFor(() => hasEnded(pid));
});

test('a byte that differs on a replica or in the primary file is seen', async () => {
  const store = join(freshFolder('store'), 'backup');
  const primary = await startPrimary({ backup: store });
  const replica = await startReplica(primary);
  const db = new Database(primary.path('a.db'));
  db.exec("CREATE TABLE t (x); INSERT INTO t VALUES ('something long enough to be found')");
  db.close();
  await waitUntilSame(primary, replica, 'a.db');
  assert.equal(await compareLeftOver(primary, replica, store), { compared: 1, excused: [], differences: [] });
  for (const [node, name] of [
    [replica, 'the replica'],
    [primary, 'the primary'],
  ] as const) {
    const fd = openSync(node.backing('a.db'), 'r+');
    // The last byte of a row, at the end of page 2.
    writeSync(fd, 'X', 2 * 4096 - 1);
    const { differences } = await compareLeftOver(primary, replica, store);
    assert.ok(
      differences.some((text) => text.startsWith(`a.db: ${name} and what is restored differ from byte 8191`)),
      differences.join('\n'),
    );
    writeSync(fd, 'd', 2 * 4096 - 1);
    closeSync(fd);
  }
});

/** Also if nobody has asked yet how it ended. */
function hasEnded(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  return !existsSync(path) || /\) Z /.test(readFileSync(path, 'latin1'));
}

test.run();
