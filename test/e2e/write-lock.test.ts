import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { connect, type SluiceError } from 'sluice/client';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ClusterNode,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  txidOf,
  waitFor,
  waitUntilSame,
} from '../support/cluster.js';
import { Program } from './programs.js';

/** The write lock by hand: `sluice write`, the client, and programs that lock as LiteFS's do. */

const test = suite('the write lock by hand');
test.after(stopAll);

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const MIGRATION = fileURLToPath(new URL('./migration.js', import.meta.url));
const HALT_CLIENT = fileURLToPath(new URL('../../../test/e2e/halt-client.py', import.meta.url));
/** Shorter than what is held by hand here. */
const WRITES = { turn: '300ms', hold: '1500ms' };
const SCHEMA = 'CREATE TABLE t (id INTEGER PRIMARY KEY, who, seq)';

interface Scene {
  readonly primary: ClusterNode;
  readonly replica: ClusterNode;
}

let scene: Scene | undefined;

async function database(name: string, mode = 'wal'): Promise<Scene> {
  if (scene === undefined) {
    const primary = await startPrimary({ writes: WRITES });
    scene = { primary, replica: await startReplica(primary, { mount: { locks: 'sluice' }, writes: { commit: '5s' } }) };
  }
  return made(scene, name, mode);
}

async function made(nodes: Scene, name: string, mode = 'wal'): Promise<Scene> {
  const db = new Sqlite(nodes.primary.path(name));
  db.pragma(`journal_mode = ${mode}`);
  db.exec(SCHEMA);
  db.close();
  await waitUntilSame(nodes.primary, nodes.replica, name);
  return nodes;
}

function write(node: ClusterNode, name: string, command: readonly string[], ...options: string[]): Program {
  return new Program(
    process.execPath,
    [SLUICE, 'write', '--db', name, '--mount', node.mount, ...options, '--', ...command],
    {
      cwd: '/',
    },
  );
}

function migrate(node: ClusterNode, name: string, transactions: number, pauseMs: number): Program {
  return write(node, name, [process.execPath, MIGRATION, node.path(name), String(transactions), String(pauseMs)]);
}

async function says(program: Program, text: string): Promise<void> {
  await waitFor(
    () => {
      if (!program.alive && !program.output.includes(text)) throw new Error(`it ended: ${program.output}`);
      return program.output.includes(text);
    },
    20_000,
    () => `${text}: ${program.output}`,
  );
}

/** One try to write. */
function tryWrite(node: ClusterNode, name: string, timeout = 0): string {
  const db = new Sqlite(node.path(name), { timeout });
  try {
    db.exec("INSERT INTO t (who) VALUES ('other')");
    return 'OK';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    db.close();
  }
}

/** Who wrote the rows, in their order. */
function writers(node: ClusterNode, name: string): string[] {
  const db = new Sqlite(node.path(name), { timeout: 5000 });
  try {
    return db.prepare('SELECT who FROM t ORDER BY id').pluck().all() as string[];
  } finally {
    db.close();
  }
}

const isCode = (code: string) => (error: unknown) => (error as SluiceError).code === code;

for (const mode of ['wal', 'delete']) {
  test(`${mode}: sluice write runs a migration; the primary’s writers find the database busy, and go on after it`, async () => {
    const name = `migration-${mode}.db`;
    const { primary, replica } = await database(name, mode);
    const migration = migrate(replica, name, 40, 60);
    await says(migration, 'begun');
    let tries = 0;
    for (; migration.alive && !migration.output.includes('done'); tries++) {
      const code = tryWrite(primary, name);
      if (migration.output.includes('done')) break;
      if (migration.alive && code === 'OK') await migration.ended;
      else assert.match(code, 'SQLITE_BUSY');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.is(await migration.ended, 0, migration.output);
    assert.ok(tries > 10, `${tries} tries`);
    assert.is(tryWrite(primary, name, 5000), 'OK');
    const rows = writers(primary, name);
    assert.equal(rows.slice(0, 40), new Array(40).fill('migration'), 'nobody wrote in between');
    assert.is(rows.at(-1), 'other');
    await waitUntilSame(primary, replica, name);
  });
}

test('it passes on the command’s exit code, and its signals', async () => {
  const { replica } = await database('codes.db');
  assert.is(await write(replica, 'codes.db', ['sh', '-c', 'exit 42']).ended, 42);
  const missing = write(replica, 'codes.db', ['/no/such/program']);
  assert.is(await missing.ended, 127);
  assert.match(missing.output, 'cannot run /no/such/program');
  const waiting = write(replica, 'codes.db', [
    'sh',
    '-c',
    'trap "echo trapped; exit 7" TERM; echo ready; while :; do sleep 0.05; done',
  ]);
  await says(waiting, 'ready');
  waiting.signalAlone('SIGTERM');
  assert.is(await waiting.ended, 7);
  assert.match(waiting.output, 'trapped');
});

test('the second waits for the first; with a time-out it gives up, with Ctrl-C too', async () => {
  const { primary, replica } = await database('second.db');
  const first = write(replica, 'second.db', ['sh', '-c', 'echo first; read line < /dev/null; sleep 3; echo over']);
  await says(first, 'first');
  const late = write(replica, 'second.db', ['echo', 'never'], '--timeout', '300ms');
  const interrupted = write(replica, 'second.db', ['echo', 'never']);
  const second = write(replica, 'second.db', ['echo', 'second']);
  assert.is(await late.ended, 1);
  assert.match(late.output, 'the write lock of second.db');
  assert.match(late.output, 'in 300 ms');
  interrupted.signal('SIGINT');
  assert.is(await interrupted.ended, 'SIGINT');
  assert.not.match(second.output, 'second');
  assert.match(tryWrite(primary, 'second.db'), 'SQLITE_BUSY');
  assert.is(await second.ended, 0, second.output);
  assert.match(first.output, 'over');
  assert.match(second.output, 'second');
  assert.not.match(late.output + interrupted.output, 'never');
});

test('when it is killed, the primary goes on', async () => {
  const { primary, replica } = await database('killed.db');
  const migration = migrate(replica, 'killed.db', 1000, 50);
  await says(migration, 'begun');
  assert.match(tryWrite(primary, 'killed.db'), 'SQLITE_BUSY');
  // Its command lives on, as one that has no such lock.
  migration.signalAlone('SIGKILL');
  assert.is(tryWrite(primary, 'killed.db', 5000), 'OK');
  migration.signal('SIGKILL');
  await migration.ended;
  await waitUntilSame(primary, replica, 'killed.db');
});

test('a new node goes on with it', async () => {
  const { primary, replica } = await database('restart.db');
  const migration = migrate(replica, 'restart.db', 60, 50);
  await says(migration, 'begun');
  await replica.killNode();
  assert.is(await migration.ended, 0, migration.output);
  assert.is(writers(primary, 'restart.db').filter((who) => who === 'migration').length, 60);
  assert.is(tryWrite(primary, 'restart.db', 5000), 'OK');
  await waitUntilSame(primary, replica, 'restart.db');
});

test('a new node asks for it again, also when nobody writes', async () => {
  const { primary, replica } = await database('idle.db');
  const idle = write(replica, 'idle.db', ['sh', '-c', 'echo begun; exec sleep 60']);
  await says(idle, 'begun');
  await replica.killNode();
  // Until it has, others may write.
  await waitFor(() => tryWrite(primary, 'idle.db') === 'SQLITE_BUSY');
  assert.ok(idle.alive, idle.output);
  idle.signalAlone('SIGTERM');
  assert.is(await idle.ended, 143);
  assert.is(tryWrite(primary, 'idle.db', 5000), 'OK');
  await waitUntilSame(primary, replica, 'idle.db');
});

test('a new node of the primary does too', async () => {
  const { primary, replica } = await database('primary-restart.db');
  const migration = migrate(replica, 'primary-restart.db', 60, 50);
  await says(migration, 'begun');
  await primary.killNode();
  assert.is(await migration.ended, 0, migration.output);
  assert.equal(writers(primary, 'primary-restart.db'), new Array(60).fill('migration'));
  await waitUntilSame(primary, replica, 'primary-restart.db');
});

test('a program that locks as LiteFS’s do', async () => {
  const { primary, replica } = await database('litefs.db');
  const python = new Program('python3', [HALT_CLIENT, replica.path('litefs.db'), '20']);
  assert.is(await python.ended, 0, python.output);
  assert.is(python.output, 'halted\n20\nunhalted\n');
  const onPrimary = new Program('python3', [HALT_CLIENT, primary.path('litefs.db'), '5']);
  assert.is(await onPrimary.ended, 0, onPrimary.output);
  assert.is(onPrimary.output, 'halted\n25\nunhalted\n');
  await waitUntilSame(primary, replica, 'litefs.db');
});

test('on the primary it is had at once, whoever keeps the locks', async () => {
  const { primary } = await database('primary.db');
  const other = await startPrimary({ mount: { locks: 'sluice' } });
  new Sqlite(other.path('primary.db')).exec(SCHEMA).close();
  for (const node of [primary, other]) {
    const { withWriteLock } = connect(node.mount);
    await withWriteLock('primary.db', async () => {
      assert.is(tryWrite(node, 'primary.db'), 'OK', 'it keeps nobody else out');
      const again = write(node, 'primary.db', ['echo', 'never'], '--timeout', '200ms');
      assert.is(await again.ended, 1, again.output);
    });
    assert.is(await write(node, 'primary.db', ['true']).ended, 0);
  }
});

test('the primary takes it back after its limit: commits fail until it is given back', async () => {
  const primary = await startPrimary({ writes: { ...WRITES, holdByHand: '1s' } });
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  await made({ primary, replica }, 'limit.db');
  const { withWriteLock } = connect(replica.mount);
  await withWriteLock('limit.db', async () => {
    const db = new Sqlite(replica.path('limit.db'), { timeout: 200 });
    db.exec("INSERT INTO t (who) VALUES ('one')");
    db.exec("BEGIN IMMEDIATE; INSERT INTO t (who) VALUES ('two')");
    await waitFor(() => replica.log.includes('lock by hand was lost'));
    assert.throws(() => db.exec('COMMIT'), /disk I\/O error/);
    if (db.inTransaction) db.exec('ROLLBACK');
    assert.throws(() => db.exec("INSERT INTO t (who) VALUES ('three')"), /locked/);
    db.close();
    assert.is(tryWrite(primary, 'limit.db', 5000), 'OK');
  });
  assert.is(tryWrite(replica, 'limit.db', 5000), 'OK');
  assert.equal(writers(primary, 'limit.db'), ['one', 'other', 'other']);
  await waitUntilSame(primary, replica, 'limit.db');
});

test('the client: the lock, positions, the primary, the lag', async () => {
  const { primary, replica } = await database('client.db');
  const [there, here] = [connect(primary.mount), connect(replica.mount)];
  const before = (await here.position('client.db'))!;
  assert.is(await here.withWriteLock('client.db', () => tryWrite(replica, 'client.db')), 'OK');
  const after = await here.waitForPosition('client.db', before);
  assert.ok(txidOf(after) >= txidOf(before));
  assert.is(tryWrite(primary, 'client.db', 5000), 'OK');
  await waitFor(async () => (await there.position('client.db')) !== after);
  const wanted = (await there.position('client.db'))!;
  assert.is(await here.waitForPosition('client.db', wanted), wanted);
  const [txid] = wanted.split('/');
  await rejects(here.waitForPosition('client.db', `${txid}/8000000000000000`), 'POSITION_DIFFERS');
  await rejects(
    here.waitForPosition('client.db', '000000000000ffff/8000000000000000', { timeoutMs: 50 }),
    'POSITION_TIMEOUT',
  );
  assert.is(await here.primary(), primary.replicationUrl);
  assert.is(await there.primary(), null);
  assert.is(await there.lag(), 0);
  assert.type(await here.lag(), 'number');
  assert.is(await here.position('none.db'), undefined);
  const error = new Error('thrown');
  await here
    .withWriteLock('client.db', () => {
      throw error;
    })
    .then(assert.unreachable, (caught) => assert.is(caught, error));
  const abort = new AbortController();
  await here.withWriteLock('client.db', async () => {
    const second = here.withWriteLock('client.db', () => 'never', { signal: abort.signal });
    second.catch(() => undefined);
    abort.abort(error);
    await second.then(assert.unreachable, (caught) => assert.is(caught, error));
    await rejects(
      here.withWriteLock('client.db', () => 'never', { timeoutMs: 50 }),
      'WRITE_LOCK_TIMEOUT',
    );
  });
  assert.is(tryWrite(primary, 'client.db', 5000), 'OK');
});

test('a primary that takes no writes: who waits gets an error, and it is in the log', async () => {
  const primary = await startPrimary({ writes: { forward: false } });
  const replica = await startReplica(primary, { mount: { locks: 'sluice' } });
  await made({ primary, replica }, 'off.db');
  await rejects(
    connect(replica.mount).withWriteLock('off.db', () => 0, { timeoutMs: 300 }),
    'WRITE_LOCK_TIMEOUT',
  );
  const python = new Program('python3', [HALT_CLIENT, replica.path('off.db'), '1']);
  assert.is(await python.ended, 1);
  assert.match(python.output, 'No locks available');
  assert.match(replica.log, 'the primary takes no writes');
});

test('what is wrong is said', async () => {
  const { primary, replica } = await database('wrong.db');
  const reader = await startReplica(primary);
  await rejects(connect('/no/such/folder').lag(), 'MOUNT_MISSING');
  const folder = freshFolder();
  await rejects(connect(folder).primary(), 'MOUNT_NOT_SLUICE');
  await rejects(connect(folder).position('wrong.db'), 'MOUNT_NOT_SLUICE');
  await rejects(
    connect(replica.mount).withWriteLock('none.db', () => 0),
    'DATABASE_MISSING',
  );
  await rejects(
    connect(replica.mount).withWriteLock('../wrong.db', () => 0),
    'DATABASE_NAME',
  );
  await waitUntilSame(primary, reader, 'wrong.db');
  await rejects(
    connect(reader.mount).withWriteLock('wrong.db', () => 0),
    'WRITES_READ_ONLY',
  );
  const cases: [string[], number, string][] = [
    [['--db', 'wrong.db', '--mount', folder, '--', 'true'], 1, 'is not a mount of Sluice'],
    [['--db', 'wrong.db', '--mount', reader.mount, '--', 'true'], 1, 'Set mount.locks: sluice'],
    [['--db', 'wrong.db', '--mount', replica.mount, '--timeout', 'soon', '--', 'true'], 2, 'Want a duration'],
    [['--mount', replica.mount, '--', 'true'], 2, '--db'],
    [['--db', 'wrong.db', '--mount', replica.mount, '-c', 'x.yml', '--', 'true'], 2, 'exclude each other'],
  ];
  for (const [args, code, text] of cases) {
    const program = new Program(process.execPath, [SLUICE, 'write', ...args]);
    assert.is(await program.ended, code, program.output);
    assert.match(program.output, text);
  }
  const configured = new Program(
    process.execPath,
    [SLUICE, 'write', '--db', replica.path('wrong.db'), '--', 'echo', 'ran'],
    {
      cwd: replica.dir,
    },
  );
  assert.is(await configured.ended, 0, configured.output);
  assert.is(configured.output, 'ran\n');
});

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  await promise.then(
    () => assert.unreachable(`${code} was expected`),
    (error: unknown) => assert.ok(isCode(code)(error), `${code} was expected: ${String(error)}`),
  );
}

test.run();
