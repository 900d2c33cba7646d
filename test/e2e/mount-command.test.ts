import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Workbench, withWorkbench } from '../backup/workbench.js';
import { SluiceNode } from './sluice-node.js';

const SQLITE = JSON.stringify(createRequire(import.meta.url).resolve('better-sqlite3'));
const BACKUP = 'backup: { url: ./store, interval: 100ms }';

/** A program that counts the rows that it finds, writes one, and exits with 7. */
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

test('the application runs when the mount is ready, and its exit code is the command`s', () =>
  withWorkbench(async (bench) => {
    const out = join(bench.folder, 'out');
    for (const rows of ['0', '1']) {
      const db = join(bench.folder, 'primary/mnt/app.db');
      const command = [process.execPath, '-e', APPLICATION, db, out];
      const node = await SluiceNode.spawn(bench, { name: 'primary', config: BACKUP, command });
      assert.is(await node.ended, 7, node.output);
      assert.is(readFileSync(out, 'utf8'), rows);
      assert.not(node.isMounted());
    }
  }));

test('on a replica it starts when the replica has caught up', () =>
  withWorkbench(async (bench) => {
    const primary = await SluiceNode.start(bench, { name: 'primary' });
    const db = new Database(primary.path('app.db'));
    db.pragma('journal_mode = wal');
    db.exec('create table t(x)');
    const insert = db.prepare(
      'insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) select randomblob(3000) from n',
    );
    for (let i = 0; i < 20; i++) insert.run();
    db.close();
    const out = join(bench.folder, 'out');
    const count = `
      const Database = require(${SQLITE});
      const [path, out] = process.argv.slice(1);
      const db = new Database(path, { readonly: true });
      require('fs').writeFileSync(out, String(db.prepare('select count(*) from t').pluck().get()));
    `;
    const path = join(bench.folder, 'replica/mnt/app.db');
    const command = [process.execPath, '-e', count, path, out];
    const replica = await SluiceNode.spawn(bench, { name: 'replica', follows: primary, command });
    assert.is(await replica.ended, 0, replica.output);
    assert.is(readFileSync(out, 'utf8'), '20000');
    assert.is(await primary.stop(), 0, primary.output);
  }));

/** A shell that notes the signals that it gets; USR1 lets it go on, TERM and INT end it with a code of its own. */
async function signalled(bench: Workbench, signals: readonly NodeJS.Signals[]): Promise<[number | string, string]> {
  const notes = join(bench.folder, 'notes');
  writeFileSync(notes, '');
  const script = `
    trap 'echo usr1 >> ${notes}' USR1
    trap 'echo hup >> ${notes}' HUP
    trap 'echo term >> ${notes}; exit 3' TERM
    trap 'echo int >> ${notes}; exit 4' INT
    echo up >> ${notes}
    while :; do sleep 0.05; done
  `;
  const node = await SluiceNode.spawn(bench, { name: 'node', command: ['/bin/sh', '-c', script] });
  const noted = ['up'];
  for (const signal of ['', ...signals]) {
    if (signal !== '') {
      node.signal(signal as NodeJS.Signals);
      noted.push(signal.slice(3).toLowerCase());
    }
    const whole = `${noted.join('\n')}\n`;
    await node
      .until(`the note of ${signal}`, async () => readFileSync(notes, 'utf8') === whole, 30_000)
      .catch((error) => {
        // The last one ends both.
        if (readFileSync(notes, 'utf8') !== whole) throw error;
      });
  }
  return [await node.ended, node.output];
}

test('signals reach the application, which decides what they mean', () =>
  withWorkbench(async (bench) => {
    const [code, output] = await signalled(bench, ['SIGUSR1', 'SIGHUP', 'SIGUSR1', 'SIGTERM']);
    assert.is(code, 3, output);
  }));

test('so does an interrupt', () =>
  withWorkbench(async (bench) => {
    const [code, output] = await signalled(bench, ['SIGINT']);
    assert.is(code, 4, output);
  }));

test('an application that a signal ends gives 128 + its number', () =>
  withWorkbench(async (bench) => {
    const node = await SluiceNode.spawn(bench, { name: 'node', command: ['/bin/sh', '-c', 'kill -KILL $$'] });
    assert.is(await node.ended, 128 + 9, node.output);
  }));

test('a program that is not there gives 127', () =>
  withWorkbench(async (bench) => {
    const node = await SluiceNode.spawn(bench, { name: 'node', command: ['no-such-program-anywhere'] });
    assert.is(await node.ended, 127, node.output);
    assert.match(node.output, 'no-such-program-anywhere');
  }));

test.run();
