import { cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { freePort, freshFolder, stopAll, waitFor } from '../support/cluster.js';
import { type Ran, runProgram } from '../support/run-program.js';
import { mountsIn } from './nodes.js';
import { Program } from './programs.js';

/** A version is installed beside the running one, a link is turned to it, and `sluice upgrade` runs. */

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const LIMIT_MS = 120_000;
const OLD = '1.0.0';
const NEW = '2.0.0';
const BROKEN = '3.0.0';

const folder = freshFolder('upgrade');
const link = join(folder, 'current');
let keeper: Program;

/** An installation of this very code under another version. */
function install(version: string): string {
  const tree = join(folder, version);
  mkdirSync(join(tree, 'dist'), { recursive: true });
  for (const part of ['src', 'cmd']) cpSync(join(ROOT, 'dist', part), join(tree, 'dist', part), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
  writeFileSync(join(tree, 'package.json'), JSON.stringify({ name: 'sluice', version, type: 'module' }));
  return tree;
}

function turnLinkTo(version: string): void {
  symlinkSync(join(folder, version), `${link}.new`);
  renameSync(`${link}.new`, link);
}

/** By the newest command, as a user has it. */
function upgrade(...options: readonly string[]): Promise<Ran> {
  return runProgram(
    process.execPath,
    [join(ROOT, 'dist/cmd/sluice.js'), 'upgrade', ...options],
    folder,
    {},
    {},
    LIMIT_MS,
  );
}

const test = suite('sluice upgrade');

test.before(async () => {
  for (const version of [OLD, NEW]) install(version);
  writeFileSync(join(install(BROKEN), 'dist/src/node.js'), "import './not-there.js';\n");
  turnLinkTo(OLD);
  const config = {
    data: './data',
    mount: './mnt',
    http: { listen: 'off' },
    replication: { listen: `127.0.0.1:${await freePort()}` },
  };
  writeFileSync(join(folder, 'sluice.yml'), JSON.stringify(config));
});

test.after(async () => {
  await keeper?.stop();
  await stopAll();
});

test('before a node runs, and for a wrong folder, it says so', async () => {
  const { code, stderr } = await upgrade();
  assert.is(code, 1);
  assert.match(stderr, /^sluice: no node runs on the data folder .*data\. Name its config file with -c/);
});

test('the new version goes on with the mount and an open transaction; old and new are named', async () => {
  keeper = new Program(process.execPath, [join(link, 'dist/cmd/sluice.js'), 'mount'], { cwd: folder });
  await waitFor(
    () => keeper.output.includes('"msg":"ready"'),
    LIMIT_MS,
    () => keeper.output,
  );
  const db = new Sqlite(join(folder, 'mnt/app.db'));
  db.exec('CREATE TABLE t (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)');
  turnLinkTo(NEW);
  const { code, stdout, stderr } = await upgrade('--json');
  assert.is(code, 0, stderr);
  const { from, to, pauseMs } = JSON.parse(stdout);
  assert.equal([from.version, to.version], [OLD, NEW]);
  assert.ok(from.pid > 0 && to.pid > 0 && from.pid !== to.pid && pauseMs > 0);
  db.exec('INSERT INTO t VALUES (2); COMMIT');
  assert.is(db.prepare('SELECT count(*) FROM t').pluck().get(), 2);
  db.close();
});

test('a version that cannot be loaded: exit code 1 with the reason, and the mount is served as before', async () => {
  turnLinkTo(BROKEN);
  const { code, stdout, stderr } = await upgrade();
  assert.is(code, 1);
  assert.is(stdout, '');
  assert.match(
    stderr,
    /^sluice: the upgrade failed: .*node-main\.js: .*; the old node goes on\. See the log of sluice mount\n$/,
  );
  const db = new Sqlite(join(folder, 'mnt/app.db'));
  db.exec('INSERT INTO t VALUES (3)');
  db.close();
  turnLinkTo(OLD);
  const again = await upgrade();
  assert.match(
    again.stdout,
    /^upgraded from 2\.0\.0 \(pid \d+\) to 1\.0\.0 \(pid \d+\); applications waited \d+ ms\n$/,
  );
  assert.is(await keeper.stop(), 0);
  assert.equal(mountsIn(folder), []);
  rmSync(link);
});

test.run();
