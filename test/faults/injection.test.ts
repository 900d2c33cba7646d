import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
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
  waitUntilSame,
} from '../support/cluster.js';
import {
  CASES,
  errorsOf,
  INHERITED,
  LOCKING,
  RUNNING,
  rulesOf,
  SETTING_ASIDE,
  SPOOLING,
  STARTING,
} from './injection-cases.js';
import { type StepName, Steps } from './injection-steps.js';
import type { StartReport } from './start-report.js';

/**
 * Faults at every labelled call on a data folder. Whoever's call it is gets the error; the node lives; and when the fault
 * is over it goes on. Here each label has one kind of error; SLUICE_FAULT_KINDS=all: each that it may have.
 */
const test = suite('faults at each call');
const PROGRAM = fileURLToPath(new URL('./start-program.js', import.meta.url));
const HIT_LIMIT_MS = 20_000;
const HEAL_LIMIT_MS = 30_000;

test.after(() => stopAll());

test('each label has its case', () => {
  assert.equal([...new Set(CASES)].sort(), [...LABELS].sort());
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
    labels.flatMap((label) => errorsOf(label).map((error) => [kind, ...rulesOf(label, error, kind)].join('='))),
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
    if (kind === 'held') assert.match(failed, /in use by another node \(pid unknown\).* \| Stop that node/, what);
    else if (failed !== '') assert.match(failed, /E(IO|MFILE|NOSPC): injected|cannot be read/, what);
    if (kind !== 'fresh') positions.add(position);
  }
  assert.is(positions.size, 1, [...positions].join(' '));
});

test('applications get the error of their calls, nobody else does, and both nodes go on', async () => {
  const primary = await watched('primary', () => startPrimary({ dir: folderOf('primary'), mount: './mnt' }));
  const replica = await startReplica(primary.node);
  const steps = new Steps(primary.node);
  const pids = [primary.node.nodePid(), replica.nodePid()];
  for (const step of Object.keys(RUNNING) as StepName[]) assert.equal(steps.do(step), [], step);
  for (const { step, label, error } of runningCases()) {
    const what = `${label} ${error} in ${step}`;
    primary.inject(rulesOf(label, error, step));
    const errors = steps.do(step);
    await primary.wasHit(label);
    primary.clear();
    for (const told of errors) assert.match(told, EXPECTED, `${what}: ${told}`);
    await healed(steps, step, what);
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
  for (const { label, error } of SPOOLING.flatMap(withErrors)) {
    replica.inject(rulesOf(label, error, 'spooling', ' 1'));
    write(primary.path('x.db'), 600_000);
    await replica.wasHit(label);
    replica.clear();
    await waitUntilSame(primary, replica.node, 'x.db', HEAL_LIMIT_MS);
  }
  assert.is(replica.node.nodePid(), pid, 'the node stayed');
  assert.not.match(replica.node.log, /cannot follow: \w+: injected, unlink/, 'what is applied is not asked for again');
  assert.is(existsSync(join(replica.node.data, 'set-aside')), false, 'it has nothing but what the primary has');

  const asides = join(replica.node.data, 'set-aside');
  const kept = new Set<string>();
  const rounds = Math.max(...SETTING_ASIDE.map((label) => errorsOf(label).length));
  for (let round = 0; round < rounds; round++) {
    assert.is(await replica.node.stop(), 0);
    write(replica.node.backing('x.db'), 100);
    const own = contentChecksum(replica.node.backing('x.db'));
    write(primary.path('x.db'), 1);
    // Each of them once: a copy that fails begins again.
    replica.inject(
      SETTING_ASIDE.flatMap((label) => rulesOf(label, errorsOf(label).at(round) ?? 'EIO', 'setting aside', ' 1')),
    );
    await replica.restart();
    for (const label of SETTING_ASIDE) await replica.wasHit(label);
    replica.clear();
    await waitUntilSame(primary, replica.node, 'x.db', HEAL_LIMIT_MS);
    const [folder, ...more] = readdirSync(asides).filter((name) => !kept.has(name));
    assert.equal(more, []);
    assert.is(contentChecksum(join(asides, folder!, 'x.db')), own, 'what only it had is kept');
    kept.add(folder!);
  }
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
  const open = (): Sqlite.Database => new Sqlite(primary.node.path('l.db'), { timeout: 0 });
  const one = open();
  one.exec('CREATE TABLE t (a)');
  for (const { label, error } of withErrors(LOCKING)) {
    primary.inject(rulesOf(label, error, 'locking'));
    assert.throws(() => one.exec('INSERT INTO t VALUES (1)'), EXPECTED_CODE);
    await primary.wasHit(label);
    primary.clear();
  }
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

test('a file that lost its name is opened by the next node: who has it open gets the error, and goes on', async () => {
  const primary = await watched('inherited', () => startPrimary({ dir: folderOf('inherited') }));
  for (const { label, error } of withErrors(INHERITED)) {
    const path = primary.node.path(`o-${error}.db`);
    const fd = openSync(path, 'w+');
    writeSync(fd, 'kept', 0);
    unlinkSync(path);
    await primary.node.killNode();
    primary.inject(rulesOf(label, error, 'inherited'));
    assert.throws(() => writeSync(fd, 'more', 4), EXPECTED_CODE);
    await primary.wasHit(label);
    primary.clear();
    writeSync(fd, '!', 4);
    const text = Buffer.alloc(10);
    assert.is(text.toString('utf8', 0, readSync(fd, text, 0, 10, 0)), 'kept!');
    closeSync(fd);
    await waitFor(
      () => readdirSync(join(primary.node.data, 'run/orphans')).length === 0,
      HEAL_LIMIT_MS,
      'its data to be removed',
    );
  }
});

test('a keeper that cannot write its file, or remove it, serves, and ends as without the fault', async () => {
  const primary = await watched('keeping', () => startPrimary({ dir: folderOf('keeping') }));
  const { node } = primary;
  for (const error of errorsOf('keeper.unlink')) {
    primary.inject([`keeper.unlink ${error}`]);
    assert.is(await node.stop(), 0, node.log.slice(-2000));
    await primary.wasHit('keeper.unlink');
    writeFileSync(join(node.data, 'keeper.json.new'), '{"');
    primary.inject([`keeper.open ${error}`]);
    await primary.restart();
    await primary.wasHit('keeper.open');
    primary.clear();
    assert.match(node.log, 'keeper.json cannot be written, so sluice upgrade cannot be told');
    // What the keeper before this one left, which the wait would count from.
    rmSync(join(node.data, 'keeper.json'));
    assert.is((await node.upgrade()).state, 'done');
  }
});

/** What an application may be told; of a file that could not be made or moved, that it is not there. */
const EXPECTED = /^(E(IO|NOSPC|MFILE|NOLCK|NOENT|EXIST)|SQLITE_(IOERR|FULL|CANTOPEN|READONLY|CORRUPT|BUSY).*)$/;

const EXPECTED_CODE = (error: unknown): boolean => EXPECTED.test((error as { code: string }).code);

const withErrors = (label: string): { label: string; error: string }[] =>
  errorsOf(label).map((error) => ({ label, error }));

const runningCases = (): { step: StepName; label: string; error: string }[] =>
  (Object.entries(RUNNING) as [StepName, readonly string[]][]).flatMap(([step, labels]) =>
    labels.flatMap(withErrors).map((one) => ({ step, ...one })),
  );

/** Does a step until nobody gets an error any more. */
async function healed(steps: Steps, step: StepName, what: string): Promise<void> {
  let errors: readonly string[] = [];
  await waitFor(
    () => {
      errors = steps.do(step);
      return errors.length === 0;
    },
    HEAL_LIMIT_MS,
    () => `${step} to go on after ${what}: ${errors.join(', ')}`,
  );
}

interface Watched {
  readonly node: ClusterNode;
  /** After a stop, with what is injected then. */
  restart(): Promise<void>;
  inject(rules: readonly string[]): void;
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
      writeFileSync(control, `${rules.join('\n')}\n`);
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

test.run();
