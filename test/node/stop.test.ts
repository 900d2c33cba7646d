import { spawn } from 'node:child_process';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { startPrimary, stopAll } from '../support/cluster.js';

const test = suite('the end of a node');

test.after(stopAll);

test('a mount that somebody keeps in a namespace of his own ends with its node', async () => {
  const primary = await startPrimary();
  const db = new Sqlite(primary.path('a.db'));
  db.exec('CREATE TABLE t (a)');
  db.close();
  const other = spawn('unshare', ['--mount', 'sh', '-c', 'echo; exec sleep 120'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise((resolve) => other.once('close', resolve));
  try {
    await new Promise((resolve) => other.stdout.once('data', resolve));
    assert.is(await primary.stop(), 0);
    assert.not.match(primary.log, 'did not stop cleanly');
  } finally {
    other.kill('SIGKILL');
    await ended;
  }
});

test.run();
