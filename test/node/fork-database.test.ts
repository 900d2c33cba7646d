import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openStore } from '../../src/backup/index.js';
import { loadConfig } from '../../src/config/load.js';
import { errorCode } from '../../src/errors.js';
import { type Forked, forkDatabase } from '../../src/fork-database.js';
import { lockDataFolder } from '../../src/keeper/index.js';
import { filledStore, folderPlace, newSet, startBackup } from '../backup/scenario.js';
import { filesBelow, type Workbench, withWorkbench } from '../backup/workbench.js';
import { until } from '../support/until.js';
import { positions } from './positions.js';

interface Node {
  readonly data: string;
  fork(name: string, txid?: number): Promise<Forked>;
}

/** The data folder of a node that backs up to the store of the test, or to none. */
function makeNode(bench: Workbench, more: object = {}): Node {
  const data = join(bench.folder, 'data');
  const file = join(bench.folder, 'sluice.yml');
  writeFileSync(file, JSON.stringify({ data, backup: { url: folderPlace(bench).url }, ...more }));
  const store = openStore(folderPlace(bench).url).database('app.db');
  return {
    data,
    fork: (name, txid) =>
      forkDatabase({ config: loadConfig({ file }), name, source: { store, ...(txid !== undefined && { txid }) } }),
  };
}

const refusal = (work: Promise<unknown>) => work.then(() => undefined, errorCode);

test('a state of a backup becomes a database of its own: TXID 1, and content that the old one never had', () =>
  withWorkbench(async (bench) => {
    const { app, images } = await filledStore(bench, folderPlace(bench));
    const node = makeNode(bench);
    const { restored, position } = await node.fork('forks/before.db', 2);
    assert.is(restored.txid, 2);
    assert.is(position.txid, 1);
    assert.equal(await positions(node.data), new Map([['forks/before.db', position]]));
    for (let txid = 1; txid <= app.position.txid; txid++) {
      assert.is.not(app.log.get(txid)!.after.checksum, position.checksum);
    }
    const path = join(node.data, 'files/forks/before.db');
    const forked = readFileSync(path);
    const differs = [...images.get(2)!.keys()].filter((at) => images.get(2)![at] !== forked[at]);
    assert.ok(differs.every((at) => (at >= 24 && at < 28) || (at >= 92 && at < 96)));
    const db = new Database(path);
    assert.equal(db.pragma('integrity_check'), [{ integrity_check: 'ok' }]);
    assert.is(db.prepare('select count(*) from t').pluck().get(), 200);
    db.close();
    assert.equal(filesBelow(node.data, 'fork.db'), []);
    const twice = await node.fork('again.db', 2);
    assert.is.not(twice.position.checksum, position.checksum, 'two forks are two lineages');
  }));

test('names that the node or its stores know, nodes that run, and replicas are refused', () =>
  withWorkbench(async (bench) => {
    await filledStore(bench, folderPlace(bench));
    const node = makeNode(bench);
    assert.is(await refusal(node.fork('app.db')), 'FORK_EXISTS', 'the store has one');
    assert.is(await refusal(node.fork('../app.db')), 'DATABASE_NAME');
    await node.fork('new.db');
    assert.is(await refusal(node.fork('new.db')), 'FORK_EXISTS', 'the node has one');
    writeFileSync(join(node.data, 'files/local'), 'text');
    assert.is(await refusal(node.fork('local')), 'FORK_EXISTS');
    const lock = lockDataFolder(node.data);
    assert.is(await refusal(node.fork('other.db')), 'DATA_IN_USE');
    lock.release();
    const lease = { role: 'replica', primary: 'ws://127.0.0.1:1' };
    assert.is(await refusal(makeNode(bench, { lease }).fork('other.db')), 'FORK_REPLICA');
    assert.not.ok(existsSync(join(node.data, 'files/other.db')));
  }));

test('a fork that is under the old name all the same does not get into the backup of the old one', () =>
  withWorkbench(async (bench) => {
    const { images } = await filledStore(bench, folderPlace(bench));
    const node = makeNode(bench, { backup: [] });
    await node.fork('app.db', 2);
    const before = filesBelow(join(bench.folder, 'store'), '.ltx');
    // As the node would have it: one transaction, with the fork's content.
    const set = newSet(bench);
    const fork = set.create('app.db');
    writeFileSync(fork.path, readFileSync(join(node.data, 'files/app.db')));
    fork.write('select 1');
    const backup = startBackup(bench, set, folderPlace(bench), { owner: 'another/process' });
    await until('it is refused', () => backup.problems().some(({ code }) => /^STORE_(AHEAD|DIVERGED)$/.test(code)));
    // Also when it has got further than the old one ever was.
    for (let i = 0; i < 10; i++) fork.write('insert into t(x) values (1)');
    await backup.flush();
    assert.ok(backup.problems().some(({ code }) => /^STORE_(AHEAD|DIVERGED)$/.test(code)));
    assert.equal(filesBelow(join(bench.folder, 'store'), '.ltx'), before);
    assert.ok(images.size > 0);
    await backup.stop();
  }));

test.run();
