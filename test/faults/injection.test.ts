import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LABELS } from '../../src/disk/labels.js';
import {
  type ClusterNode,
  contentChecksum,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
  waitForReplica,
  waitUntilSame,
} from '../support/cluster.js';
import { type StepName, Steps } from './injection-steps.js';
import type { StartReport } from './start-report.js';

/**
 * Faults at every labelled call on a data folder. Whoever's call it is gets the error; the node lives; and when the fault
 * is over it goes on.
 */
const test = suite('faults at each call');
const PROGRAM = fileURLToPath(new URL('./start-program.js', import.meta.url));
const HIT_LIMIT_MS = 20_000;
const HEAL_LIMIT_MS = 30_000;

/** Of a running primary: which step makes a call of each label. */
const RUNNING: Record<StepName, readonly string[]> = {
  wal: each('wal', 'create read'),
  rollback: ['journal.create', 'journal.write', 'journal.sync'],
  unlogged: ['mark.create'],
  passing: ['db.create', 'db.write', 'db.sync', 'log.unlink', ...each('unlogged-folder', 'open sync')],
  files: each('db', 'truncate rename link unlink change'),
  wals: each('wal', 'open write truncate sync rename link unlink change'),
  journals: each('journal', 'open read truncate rename link unlink change'),
  shms: each('shm', 'open create read write truncate sync rename link unlink change'),
  superJournals: each('super-journal', 'open create read write truncate sync rename link unlink change'),
  folders: each('files-folder', 'open rmdir sync rename change'),
  orphan: each('orphan', 'read write truncate sync change'),
};

/** Of a start or stop: on a folder that a crash left, on none, on one whose mount lives on. */
const STARTING: Record<StartReport['kind'], readonly string[]> = {
  used: [
    'db.open',
    'db.read',
    ...each('log', 'open create read write truncate sync'),
    ...each('state', 'open create read write sync unlink'),
    ...each('sums', 'open create read write truncate sync unlink'),
    ...each('name', 'create read write sync rename unlink'),
    ...each('session', 'create write rename unlink'),
    'nodes.open',
    'locks.open',
    'orphan.unlink',
    'mark.unlink',
    'identity.read',
    ...each('pid', 'open write'),
    ...each('keeper', 'create read write rename unlink'),
    'files-folder.list',
    ...each('meta-folder', 'open mkdir rmdir list sync'),
    ...each('run-folder', 'mkdir rmdir'),
    ...each('spool-folder', 'mkdir rmdir'),
    'set-aside.unlink',
    ...each('set-aside-folder', 'list rmdir'),
  ],
  fresh: [
    'nodes.create',
    'locks.create',
    ...each('identity', 'create write sync rename'),
    'pid.create',
    ...each('data-folder', 'mkdir open sync'),
    'files-folder.mkdir',
    'unlogged-folder.mkdir',
  ],
  'taken over': [
    ...each('nodes', 'read write truncate rename unlink'),
    ...each('locks', 'read'),
    ...each('session', 'open read'),
    'run-folder.list',
  ],
};

/** Of a replica that takes what does not go in one message. */
const SPOOLING = each('spool', 'create write open read unlink');
/** Of one that sets a database aside. */
const SETTING_ASIDE = [
  ...each('set-aside-folder', 'mkdir open sync rename'),
  ...each('set-aside', 'create write open sync'),
];
/** Of a primary with `locks: sluice`. */
const LOCKING = ['locks.write'];
/** The calls of others, which have another label where a crash left a file of that name. */
const LEFT_OVER = ['name.open', 'identity.open', 'keeper.open', 'mark.open', 'pid.read'];
/** Only after two faults at once. */
const TWOFOLD: Record<string, string> = { 'nodes.unlink': 'nodes.rename' };
/** What undoes a rename that failed in its middle; what a successor finds. Not injected. */
const UNDOING = ['orphan.rename', 'orphan.open'];

test.after(() => stopAll());

test('each label has its case', () => {
  const cases = [
    ...Object.values(RUNNING).flat(),
    ...Object.values(STARTING).flat(),
    ...SPOOLING,
    ...SETTING_ASIDE,
    ...LOCKING,
    ...LEFT_OVER,
    ...UNDOING,
  ];
  assert.equal(
    LABELS.filter((label) => !cases.includes(label)),
    [],
  );
  assert.equal(
    cases.filter((label) => !LABELS.includes(label)),
    [],
  );
});

test('a start with a fault says what is wrong, or does without, and the next one is as if nothing had been', async () => {
  const dir = realpathSync(freshFolder('start-faults'));
  const files = { data: join(dir, 'data'), template: join(dir, 'template'), reports: join(dir, 'reports') };
  const env = { ...process.env, SLUICE_DISK_ROOT: files.data, SLUICE_DISK_FAULTS: join(dir, 'faults') };
  const run = (args: readonly string[]): Promise<void> =>
    new Promise((resolve, reject) => {
      const program = spawn(process.execPath, [PROGRAM, files.template, files.reports, ...args], {
        env,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let said = '';
      program.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      program.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`exit code ${code}: ${said}`))));
    });
  await run([]);
  const wanted = Object.entries(STARTING).flatMap(([kind, labels]) =>
    labels.map(
      (label) => `${kind}=${label}=${errorOf(label)}${TWOFOLD[label] === undefined ? '' : `=${TWOFOLD[label]}`}`,
    ),
  );
  await run(wanted);
  const reports = readFileSync(files.reports, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as StartReport);
  assert.is(reports.length, wanted.length);
  const positions = new Set<string>();
  for (const { label, kind, hit, failed, after, position, error } of reports) {
    const what = `${label} ${error} (${kind})`;
    assert.ok(hit, `${what} was not called`);
    assert.is(after, '', `${what}: the next start`);
    // Not, for example, that the database is damaged.
    if (failed !== '') assert.match(failed, /E(IO|MFILE|NOSPC): injected|cannot be read/, what);
    if (kind !== 'fresh') positions.add(position);
  }
  assert.is(positions.size, 1, [...positions].join(' '));
});

test('applications get the error of their calls, nobody else does, and both nodes go on', async () => {
  const primary = await watched('primary', () => startPrimary({ dir: folderOf('primary'), mount: './mnt' }));
  const replica = await startReplica(primary.node);
  const steps = new Steps(primary.node);
  const pids = [primary.node.nodePid(), replica.nodePid()];
  for (const step of ['wal', 'rollback', 'unlogged'] as const) assert.equal(steps.do(step), [], step);
  for (const [step, labels] of Object.entries(RUNNING) as [StepName, readonly string[]][]) {
    for (const label of labels) {
      primary.inject(`${label} ${errorOf(label)}`);
      const errors = steps.do(step);
      await primary.wasHit(label);
      primary.clear();
      for (const error of errors) assert.match(error, EXPECTED, `${label} in ${step}: ${error}`);
      await healed(steps, step, label);
    }
  }
  assert.equal([primary.node.nodePid(), replica.nodePid()], pids, 'the nodes stayed');
  for (const [name, rows] of steps.committed) {
    assert.equal(steps.do(name === 'wal.db' ? 'wal' : 'rollback'), []);
    await waitUntilSame(primary.node, replica, name);
    const db = new Sqlite(replica.path(name), { readonly: true });
    const found = new Set(db.prepare('SELECT id FROM t').pluck().all() as number[]);
    db.close();
    assert.equal(
      rows.filter((row) => !found.has(row)),
      [],
      `${name}: rows that were committed`,
    );
  }
  for (const node of [primary.node, replica]) {
    await waitFor(async () => (await node.status()).problems.length === 0, HEAL_LIMIT_MS, 'no problem to be left');
  }
});

test('a replica whose disk fails while it takes a large transaction, or sets a database aside, gets there', async () => {
  const primary = await startPrimary();
  const replica = await watched('spooling', () => startReplica(primary, { dir: folderOf('spooling') }));
  const write = (path: string, bytes: number): void => {
    const db = new Sqlite(path);
    db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, body BLOB)');
    db.prepare('INSERT INTO t (body) VALUES (randomblob(?))').run(bytes);
    db.close();
  };
  write(primary.path('x.db'), 10);
  await waitUntilSame(primary, replica.node, 'x.db');
  const pid = replica.node.nodePid();
  for (const label of SPOOLING) {
    replica.inject(`${label} ${errorOf(label)} 1`);
    write(primary.path('x.db'), 600_000);
    await replica.wasHit(label);
    replica.clear();
    await waitForReplica(primary, replica.node, 'x.db', HEAL_LIMIT_MS);
    await waitUntilSame(primary, replica.node, 'x.db');
  }
  assert.is(replica.node.nodePid(), pid, 'the node stayed');
  assert.not.match(replica.node.log, /cannot follow: \w+: injected, unlink/, 'what is applied is not asked for again');
  assert.is(existsSync(join(replica.node.data, 'set-aside')), false, 'it has nothing but what the primary has');

  assert.is(await replica.node.stop(), 0);
  write(replica.node.backing('x.db'), 100);
  const own = contentChecksum(replica.node.backing('x.db'));
  write(primary.path('x.db'), 1);
  // Each of them once: a copy that fails begins again.
  replica.inject(SETTING_ASIDE.map((label) => `${label} ${errorOf(label)} 1`).join('\n'));
  await replica.restart();
  for (const label of SETTING_ASIDE) await replica.wasHit(label);
  replica.clear();
  await waitForReplica(primary, replica.node, 'x.db', HEAL_LIMIT_MS);
  await waitUntilSame(primary, replica.node, 'x.db');
  const [folder, ...more] = readdirSync(join(replica.node.data, 'set-aside'));
  assert.equal(more, []);
  assert.is(contentChecksum(join(replica.node.data, 'set-aside', folder!, 'x.db')), own, 'what only it had is kept');
  await waitFor(
    async () => (await replica.node.status()).problems.length === 0,
    HEAL_LIMIT_MS,
    'no problem to be left',
  );
});

test('a lock that cannot be recorded is refused, and is nobody’s', async () => {
  const primary = await watched('locking', () =>
    startPrimary({ dir: folderOf('locking'), mount: { locks: 'sluice' } }),
  );
  const [label] = LOCKING as [string];
  const open = (): Sqlite.Database => new Sqlite(primary.node.path('l.db'), { timeout: 0 });
  const one = open();
  one.exec('CREATE TABLE t (a)');
  primary.inject(`${label} ${errorOf(label)}`);
  assert.throws(() => one.exec('INSERT INTO t VALUES (1)'), EXPECTED_CODE);
  await primary.wasHit(label);
  primary.clear();
  // Were it held still, the other would be told that the database is locked.
  const other = open();
  other.exec('INSERT INTO t VALUES (2)');
  one.exec('INSERT INTO t VALUES (3)');
  assert.equal(other.prepare('SELECT a FROM t').pluck().all(), [2, 3]);
  for (const db of [one, other]) db.close();
  await primary.node.killNode();
  const after = open();
  after.exec('INSERT INTO t VALUES (4)');
  after.close();
});

/** What an application may be told; of a file that could not be made or moved, that it is not there. */
const EXPECTED = /^(E(IO|NOSPC|MFILE|NOLCK|NOENT|EXIST)|SQLITE_(IOERR|FULL|CANTOPEN|READONLY|CORRUPT|BUSY).*)$/;

const EXPECTED_CODE = (error: unknown): boolean => EXPECTED.test((error as { code: string }).code);

/** Does a step until nobody gets an error any more. */
async function healed(steps: Steps, step: StepName, label: string): Promise<void> {
  let errors: readonly string[] = [];
  await waitFor(
    () => {
      errors = steps.do(step);
      return errors.length === 0;
    },
    HEAL_LIMIT_MS,
    () => `${step} to go on after ${label}: ${errors.join(', ')}`,
  );
}

interface Watched {
  readonly node: ClusterNode;
  /** After a stop, with what is injected then. */
  restart(): Promise<void>;
  inject(rules: string): void;
  clear(): void;
  wasHit(label: string): Promise<void>;
}

const dirs = new Map<string, string>();

function folderOf(name: string): string {
  const dir = dirs.get(name) ?? realpathSync(freshFolder(`${name}-faults`));
  dirs.set(name, dir);
  return dir;
}

/** A node whose calls can be made to fail. */
async function watched(name: string, start: () => Promise<ClusterNode>): Promise<Watched> {
  const dir = folderOf(name);
  mkdirSync(join(dir, 'data'));
  const control = join(dir, 'faults');
  const hits = `${control}.hits`;
  const within = async <T>(work: () => Promise<T>): Promise<T> => {
    Object.assign(process.env, { SLUICE_DISK_ROOT: join(dir, 'data'), SLUICE_DISK_FAULTS: control });
    try {
      return await work();
    } finally {
      delete process.env.SLUICE_DISK_ROOT;
      delete process.env.SLUICE_DISK_FAULTS;
    }
  };
  const node = await within(start);
  return {
    node,
    restart: () => within(() => node.start()),
    inject(rules) {
      rmSync(hits, { force: true });
      writeFileSync(control, `${rules}\n`);
    },
    clear: () => rmSync(control, { force: true }),
    wasHit: (label) =>
      waitFor(
        () => existsSync(hits) && readFileSync(hits, 'utf8').includes(`${label}@`),
        HIT_LIMIT_MS,
        `a call of ${label}`,
      ),
  };
}

/** What each label fails with: a full disk, a full table of descriptors, or the disk itself. */
function errorOf(label: string): string {
  const [, operation] = label.split('.') as [string, string];
  if (['write', 'mkdir', 'rename', 'link'].includes(operation)) return 'ENOSPC';
  return ['open', 'create', 'list'].includes(operation) ? 'EMFILE' : 'EIO';
}

function each(kind: string, operations: string): string[] {
  return operations.split(' ').map((operation) => `${kind}.${operation}`);
}

test.run();
