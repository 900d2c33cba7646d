import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cleanUp, freePort, freshFolder, startPrimary, waitFor } from '../support/cluster.js';
import { mountsIn, stopAll, unmountAll } from './nodes.js';
import { Program } from './programs.js';

/** `sluice mount -- COMMAND` */

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const LIMIT_MS = 60_000;
const SQLITE = JSON.stringify(createRequire(import.meta.url).resolve('better-sqlite3'));

/** A command with its mount in a folder of its own. */
class Mounted {
  readonly folder = freshFolder('command');
  program!: Program;

  constructor(private readonly lease = '') {}

  path(name: string): string {
    return join(this.folder, 'data/mnt', name);
  }

  async start(...command: string[]): Promise<void> {
    const config = [
      `http: { listen: "127.0.0.1:${await freePort()}" }`,
      this.lease === ''
        ? 'backup: { url: ./store, interval: 100ms }'
        : `lease: { role: replica, primary: "${this.lease}" }`,
      `replication: { listen: "127.0.0.1:${await freePort()}" }`,
    ];
    writeFileSync(join(this.folder, 'sluice.yml'), config.join('\n'));
    this.program = new Program(process.execPath, [SLUICE, 'mount', '--', ...command], { cwd: this.folder });
  }

  /** Its exit code; nothing may be left mounted. */
  async end(): Promise<number | string> {
    const late = setTimeout(() => this.program.kill(), LIMIT_MS);
    const code = await this.program.ended;
    clearTimeout(late);
    const left = mountsIn(this.folder);
    unmountAll(this.folder);
    assert.equal(left, [], 'it is unmounted');
    return code;
  }

  get output(): string {
    return this.program.output;
  }
}

/** Counts the rows that it finds, writes one, and exits with 7. */
const APPLICATION = `
  const Database = require(${SQLITE});
  const [path, out] = process.argv.slice(1);
  const db = new Database(path);
  db.exec('create table if not exists t(x)');
  const rows = db.prepare('select count(*) from t').pluck().get();
  db.prepare('insert into t values (?)').run(rows);
  require('fs').writeFileSync(out, String(rows));
  process.exit(7);
`;

test("the application runs when the mount is ready, and its exit code is the command's", async () => {
  const mounted = new Mounted();
  const out = join(mounted.folder, 'out');
  for (const rows of ['0', '1', '2']) {
    await mounted.start(process.execPath, '-e', APPLICATION, mounted.path('app.db'), out);
    assert.is(await mounted.end(), 7, mounted.output);
    assert.is(readFileSync(out, 'utf8'), rows);
  }
});

test('on a replica it starts when the replica has caught up', async () => {
  const primary = await startPrimary();
  const db = new Database(primary.path('app.db'));
  db.pragma('journal_mode = wal');
  db.exec('create table t(x)');
  const insert = db.prepare(`with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
    insert into t select randomblob(3000) from n`);
  for (let i = 0; i < 20; i++) insert.run();
  db.close();
  const count = `
    const Database = require(${SQLITE});
    const [path, out] = process.argv.slice(1);
    const db = new Database(path, { readonly: true });
    require('fs').writeFileSync(out, String(db.prepare('select count(*) from t').pluck().get()));
  `;
  const replica = new Mounted(primary.replicationUrl);
  const out = join(replica.folder, 'out');
  await replica.start(process.execPath, '-e', count, replica.path('app.db'), out);
  assert.is(await replica.end(), 0, replica.output);
  assert.is(readFileSync(out, 'utf8'), '20000');
  await stopAll(primary);
});

/** Runs a shell that notes the signals that it gets, one after the other; TERM and INT end it with a code of its own. */
async function signalled(...signals: NodeJS.Signals[]): Promise<{ code: number | string; output: string }> {
  const mounted = new Mounted();
  const notes = join(mounted.folder, 'notes');
  writeFileSync(notes, '');
  const script = `
    trap 'echo SIGUSR1 >> ${notes}' USR1
    trap 'echo SIGHUP >> ${notes}' HUP
    trap 'echo SIGTERM >> ${notes}; exit 3' TERM
    trap 'echo SIGINT >> ${notes}; exit 4' INT
    echo up >> ${notes}
    while :; do sleep 0.05; done
  `;
  await mounted.start('/bin/sh', '-c', script);
  const noted = () => readFileSync(notes, 'utf8').split('\n').filter(Boolean);
  for (const [i, signal] of signals.entries()) {
    await waitFor(
      () => noted().length === i + 1,
      30_000,
      () => `note ${i}: ${mounted.output}`,
    );
    mounted.program.signalAlone(signal);
  }
  const code = await mounted.end();
  assert.equal(noted(), ['up', ...signals]);
  return { code, output: mounted.output };
}

test('signals reach the application, which decides what they mean', async () => {
  const { code, output } = await signalled('SIGUSR1', 'SIGHUP', 'SIGUSR1', 'SIGTERM');
  assert.is(code, 3, output);
});

test('so does an interrupt', async () => {
  const { code, output } = await signalled('SIGINT');
  assert.is(code, 4, output);
});

test('an application that a signal ends gives 128 + its number', async () => {
  const mounted = new Mounted();
  await mounted.start('/bin/sh', '-c', 'kill -KILL $$');
  assert.is(await mounted.end(), 128 + 9, mounted.output);
});

test('a program that is not there gives 127', async () => {
  const mounted = new Mounted();
  await mounted.start('no-such-program-anywhere');
  assert.is(await mounted.end(), 127, mounted.output);
  assert.match(mounted.output, 'no-such-program-anywhere');
});

test.after(cleanUp);
test.run();
