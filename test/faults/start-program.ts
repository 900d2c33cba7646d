import {
  appendFileSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { forgetDropped } from '../../src/database/dropped-databases.js';
import { Outlived } from '../../src/database/outlived.js';
import { mkdirSync as makeFolder, rmSync as remove } from '../../src/disk/index.js';
import { describeError, SluiceError } from '../../src/errors.js';
import { createShared, serveMount } from '../../src/fuse/index.js';
import { lockDataFolder } from '../../src/keeper/data-lock.js';
import { readKeeperState, removeKeeperState, writeKeeperState } from '../../src/keeper/keeper-file.js';
import { MountBench } from '../database/support/mount-bench.js';
import { Shadow } from '../database/support/shadow.js';
import { PassiveWatcher } from '../fuse/support/passive-watcher.js';
import { initBody } from '../fuse/support/synthetic-kernel.js';
import type { StartReport } from './start-report.js';

/**
 * Starts and stops what a primary does to its data folder then, without a mount, over and over in one process: each time
 * with faults, and once more without. Arguments: a data folder that a crash left, where the reports go (JSON lines), and
 * `<kind>=<label> <error>` as often as wanted, with what fails besides it after a `=`. Without any: makes that data folder.
 *
 *     fresh         nothing
 *     used          what a crash left
 *     left over     the same, in the middle of writing small files: what was to take their place is there
 *     taken over    the same, and its mount lives on
 *     held          the same, and another node is there
 *     outlived      the same, and an application has a WAL open since before
 */
const [template, reports, ...wanted] = process.argv.slice(2) as [string, string, ...string[]];
const root = process.env.SLUICE_DISK_ROOT!;
const control = process.env.SLUICE_DISK_FAULTS!;
const NAME = 'a.db';
/** Of no database that is there. */
const WAL_NAME = 'other.db-wal';
/** Its folder's name is a hash. */
const NEW_NAME = `${'n'.repeat(130)}.db`;
/** For the state to be written. */
const LATE_MS = 300;
const FUSE_INIT = 26;
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;

type Kind = StartReport['kind'];

if (wanted.length === 0) await makeTemplate();
for (const each of wanted) {
  const [kind, ...rules] = each.split('=') as [Kind, string, ...string[]];
  const [label, error] = rules[0]!.split(' ') as [string, string];
  prepare(kind);
  rmSync(`${control}.hits`, { force: true });
  writeFileSync(control, `${rules.join('\n')}\n`);
  const other = kind === 'held' ? lockDataFolder(root) : undefined;
  const outlived = kind === 'outlived' ? openSync(join(root, 'files', WAL_NAME), 'r+') : undefined;
  const { failed } = await start(kind);
  other?.release();
  if (outlived !== undefined) closeSync(outlived);
  rmSync(control);
  const hit = existsSync(`${control}.hits`) && readFileSync(`${control}.hits`, 'utf8').includes(`${label}@`);
  const { failed: after, position } = await start(kind);
  const report: StartReport = { label, error, kind, hit, failed, after, position };
  appendFileSync(reports, `${JSON.stringify(report)}\n`);
}
process.exit(0);

/** What a crash leaves of a mount with a database, another that was dropped, one that is new, and half a set-aside. */
async function makeTemplate(): Promise<void> {
  await start('fresh');
  const bench = await new MountBench(root).start();
  for (const name of [NAME, 'gone.db']) {
    const db = new Shadow(bench, name, 'delete');
    await db.run('CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(3000))');
    await db.run('DELETE FROM t');
    db.close();
  }
  await bench.quiet();
  await bench.unlink('gone.db');
  await bench.quiet();
  await new Promise((resolve) => setTimeout(resolve, LATE_MS));
  const { path } = bench.databases.get(NAME)!.log.location(1)!;
  appendFileSync(path, 'torn');
  truncateSync(join(bench.folder.metaOf(NAME), 'sums'), 5);
  copyFileSync(bench.backing(NAME), bench.backing(NEW_NAME));
  bench.folder.marks.set(NEW_NAME);
  makeFolder(join(root, 'set-aside/a.unfinished'), { recursive: true });
  writeFileSync(join(root, 'set-aside/a.unfinished/a.db'), 'x');
  writeFileSync(join(root, 'run/orphans/999'), 'x');
  cpSync(root, template, { recursive: true, preserveTimestamps: true });
}

function prepare(kind: Kind): void {
  rmSync(root, { recursive: true, force: true });
  if (kind !== 'fresh') cpSync(template, root, { recursive: true, preserveTimestamps: true });
  if (kind === 'left over') leaveHalf();
  if (kind !== 'outlived') return;
  writeFileSync(join(root, 'run/passed'), '');
  writeFileSync(join(root, 'files', WAL_NAME), 'x');
}

/** A crash of the machine: of a file that was being written nothing is on disk, or its beginning. */
function leaveHalf(): void {
  for (const name of ['node.json', `meta/${NAME}/name`]) writeFileSync(join(root, name), '');
  for (const name of ['node.json', 'keeper.json']) writeFileSync(join(root, `${name}.new`), '{"');
}

/** In the order of src/keeper/node-child.ts and src/node.ts. */
async function start(kind: Kind): Promise<{ failed: string; position: string }> {
  let failed = '';
  let position = '';
  try {
    const lock = lockDataFolder(root);
    try {
      writeKeeperState(root, { pid: process.pid, startTicks: 1, upgrade: null });
      readKeeperState(root);
      const bench = new MountBench(root);
      remove(bench.folder.spool, { recursive: true, force: true });
      makeFolder(bench.folder.spool);
      bench.folder.removeUnfinished();
      const outlived = new Outlived(bench.folder.files, bench.folder.run);
      if (kind !== 'taken over') outlived.cutOff();
      await bench.start();
      outlived.prepare();
      await bench.quiet();
      const problem = bench.databases.get(NAME)?.problem ?? bench.databases.refusals()[0];
      if (problem !== undefined) failed = hinted(problem.error);
      position = bench.position(NAME) ?? '';
      await forgetDropped(bench.folder, (name) => name === NAME, Date.now() + YEAR_MS);
      serve(bench, kind === 'taken over');
      await bench.stop(true);
      removeKeeperState(root);
    } finally {
      lock.release();
    }
  } catch (error) {
    failed = hinted(error);
  }
  return { failed, position };
}

/** A mount that only says what it can do, and is gone. */
function serve(bench: MountBench, takeover: boolean): void {
  const init = initBody();
  const request = Buffer.alloc(40 + init.length);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt32LE(FUSE_INIT, 4);
  request.writeUInt32LE(1, 8);
  init.copy(request, 40);
  const path = join(root, '..', 'device');
  writeFileSync(path, takeover ? '' : request);
  const deviceFd = openSync(path, 'r+');
  try {
    serveMount({
      deviceFd,
      backing: bench.folder.files,
      run: bench.folder.run,
      locks: 'sluice',
      takeover,
      watcher: new PassiveWatcher(),
      shared: createShared('off'),
    });
  } finally {
    closeSync(deviceFd);
  }
}

/** What a person reads. */
function hinted(error: unknown): string {
  return error instanceof SluiceError ? `${error.message} | ${error.hint}` : describeError(error);
}
