import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ClusterNode,
  cleanUp,
  freePort,
  freshFolder,
  startPrimary,
  startReplica,
  waitUntilSame,
} from '../support/cluster.js';
import { assertIntact, assertSameBytes, settle } from './equality.js';
import { stopAll } from './nodes.js';
import { Program, run } from './programs.js';
import { requirePython } from './python.js';

/** Django (its admin, auth and sessions) writes on the primary while Datasette serves the same databases of the replica. */

const LOAD = fileURLToPath(new URL('../../../test/e2e/django-load.py', import.meta.url));
const PEOPLE = 40;
const TABLES = ['auth_user', 'auth_group', 'django_admin_log', 'django_session'] as const;
const LIMIT_MS = 60_000;

type Counts = Record<(typeof TABLES)[number], number>;

/** What differs from a fresh project's settings. Hashing passwords well takes most of the time, and is not the matter. */
function settings(path: string, journal: 'wal' | 'delete'): string {
  return `
from site1.settings import *
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ${JSON.stringify(path)}, "OPTIONS": {
    "timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=${journal};"}}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
`;
}

/** A fresh project, migrated into the primary's database; returns how to run its load. */
async function startDjango(primary: ClusterNode, journal: 'wal' | 'delete', python: object) {
  const folder = freshFolder(`django-${journal}`);
  writeFileSync(join(folder, 'settings_here.py'), settings(primary.path(`${journal}.db`), journal));
  const here = { cwd: folder, env: { ...python, DJANGO_SETTINGS_MODULE: 'settings_here' } };
  await run('python3', ['-m', 'django', 'startproject', 'site1', '.'], { cwd: folder, env: python });
  await run('python3', ['manage.py', 'migrate', '--verbosity', '0'], here);
  const admin = ['createsuperuser', '--noinput', '--username', 'admin', '--email', 'admin@example.com'];
  const env = { ...here.env, DJANGO_SUPERUSER_PASSWORD: 'admin-secret' };
  await run('python3', ['manage.py', ...admin], { ...here, env });
  const load = ['-c', `import sys; sys.path.insert(0, '.'); exec(open(${JSON.stringify(LOAD)}).read())`, `${PEOPLE}`];
  return async (): Promise<Counts & { journal_mode: string }> => JSON.parse(await run('python3', load, here));
}

class Datasette {
  private constructor(
    readonly program: Program,
    private readonly url: string,
  ) {}

  static async start(paths: readonly string[], python: object): Promise<Datasette> {
    const port = await freePort();
    const args = ['-m', 'datasette', 'serve', '--host', '127.0.0.1', '--port', `${port}`, ...paths];
    const program = new Program('python3', args, { env: python });
    const datasette = new Datasette(program, `http://127.0.0.1:${port}`);
    const endMs = performance.now() + LIMIT_MS;
    while (
      !(await fetch(`${datasette.url}/-/versions.json`).then(
        (answer) => answer.ok,
        () => false,
      ))
    ) {
      if (!program.alive || performance.now() > endMs) throw new Error(`Datasette did not start\n${program.output}`);
      await sleep(100);
    }
    return datasette;
  }

  /** Row counts by its JSON API. */
  async counts(database: string): Promise<Counts> {
    const sql = `select ${TABLES.map((table) => `(select count(*) from ${table}) as ${table}`).join(', ')}`;
    const rows = await this.get<Counts[]>(`/${database}.json?_shape=array&sql=${encodeURIComponent(sql)}`);
    return rows[0]!;
  }

  /** A page as people see it. */
  async browse(database: string, table: string): Promise<string> {
    const answer = await fetch(`${this.url}/${database}/${table}`);
    const text = await answer.text();
    assert.is(answer.status, 200, text);
    return text;
  }

  private async get<T>(path: string): Promise<T> {
    const answer = await fetch(`${this.url}${path}`);
    const text = await answer.text();
    assert.is(answer.status, 200, `${path}: ${text}`);
    return JSON.parse(text) as T;
  }
}

/** Asks again and again while something runs. Users are only ever added, so their number may not go back. */
async function watch(datasette: Datasette, database: string, isOver: () => boolean): Promise<number> {
  let answers = 0;
  for (let users = 0; !isOver(); answers++) {
    const counts = await datasette.counts(database);
    assert.ok(counts.auth_user >= users, `users went from ${users} to ${counts.auth_user}`);
    users = counts.auth_user;
    if (answers % 10 === 0) await datasette.browse(database, 'auth_user');
    await sleep(20);
  }
  return answers;
}

async function untilEqual(datasette: Datasette, database: string, expected: Counts): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  for (;;) {
    const counts = await datasette.counts(database);
    if (TABLES.every((table) => counts[table] === expected[table])) return;
    if (performance.now() > endMs) assert.equal(counts, expected);
    await sleep(50);
  }
}

test('Django writes on the primary while Datasette serves the replica', async () => {
  const python = requirePython();
  if (python === undefined) return;
  const primary = await startPrimary();
  const replica = await startReplica(primary);
  const journals = ['wal', 'delete'] as const;
  const loads = await Promise.all(journals.map((journal) => startDjango(primary, journal, python)));
  for (const journal of journals) await waitUntilSame(primary, replica, `${journal}.db`);
  const paths = journals.map((journal) => replica.path(`${journal}.db`));
  const datasette = await Datasette.start(paths, python);

  await Promise.all(
    journals.map(async (journal, i) => {
      let over = false;
      const writing = loads[i]!().finally(() => {
        over = true;
      });
      const [written, answers] = await Promise.all([writing, watch(datasette, journal, () => over)]);
      assert.is(written.journal_mode, journal);
      assert.is(written.auth_user, PEOPLE + 1);
      assert.ok(answers > 3, `${answers} answers while Django wrote`);
      await untilEqual(datasette, journal, written);
    }),
  );
  for (const journal of journals) {
    assert.match(await datasette.browse(journal, 'auth_user'), `user${PEOPLE - 1}`);
    await waitUntilSame(primary, replica, `${journal}.db`);
    assertIntact(primary.path(`${journal}.db`));
    assertIntact(replica.path(`${journal}.db`));
  }
  assert.is(await datasette.program.stop('SIGINT'), 0, datasette.program.output);
  assert.not.match(datasette.program.output, /Traceback|Error|locked|malformed/);
  await stopAll(replica, primary);
  for (const journal of journals) {
    for (const node of [primary, replica]) settle(node.backing(`${journal}.db`));
    assertSameBytes(replica.backing(`${journal}.db`), primary.backing(`${journal}.db`));
  }
});

test.after(cleanUp);
test.run();
