// Time limit: 12 min
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  cleanUp,
  freshFolder,
  startPrimary,
  startReplica,
  untilLogged,
  waitFor,
  waitForReplica,
} from '../support/cluster.js';
import { assertIntact, assertSameBytes, settle } from './equality.js';
import { MemoryWatch, megabytes } from './memory.js';
import { backedUp, stopAll } from './nodes.js';
import { run } from './programs.js';

/** A large database, replicated, backed up and restored while memory stays small. SLUICE_E2E_BYTES is its size. */

const SIZE_BYTES = Number(process.env.SLUICE_E2E_BYTES || 1e9);
const IMPORT_BYTES = SIZE_BYTES / 4;
const TRANSACTION_BYTES = 10e6;
const MAX_RESIDENT_BYTES = 250e6;
const NAMES = ['big.db', 'import.db'];
const LIMIT_MS = 5 * 60_000;
const WRITER = fileURLToPath(new URL('./big-writer.js', import.meta.url));
const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));

let startMs = performance.now();

/** Says what a step took. */
function lap(what: string): void {
  console.log(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  startMs = performance.now();
}

test('a large database is replicated, backed up and restored in bounded memory', async () => {
  const folder = freshFolder('big');
  const seed = join(folder, 'seed.db');
  await run(process.execPath, [WRITER, seed, `${IMPORT_BYTES}`, `${TRANSACTION_BYTES}`]);
  lap('seed');
  const store = join(folder, 'store');
  const primary = await startPrimary({ backup: { url: store } });
  const replica = await startReplica(primary);
  const memory = new MemoryWatch(primary);
  const replicaMemory = new MemoryWatch(replica);
  try {
    startMs = performance.now();
    const writing = [primary.path('big.db'), `${SIZE_BYTES}`, `${TRANSACTION_BYTES}`];
    await run(process.execPath, [WRITER, ...writing], { limitMs: LIMIT_MS });
    lap(`written, ${megabytes(statSync(primary.path('big.db')).size)}`);
    await run('cp', [seed, primary.path('import.db')], { limitMs: LIMIT_MS });
    lap(`copied in, ${megabytes(statSync(seed).size)}`);
    await waitFor(async () => (await primary.position('import.db')) !== undefined, LIMIT_MS, 'the import');
    await untilLogged(primary);
    for (const name of NAMES) await waitForReplica(primary, replica, name, LIMIT_MS);
    lap('replicated');
    for (const name of NAMES) await backedUp(primary, name, LIMIT_MS);
    lap('backed up');
    // Something on top of it, while nothing else goes on.
    const db = new Database(primary.path('big.db'));
    db.exec('update rows set key = key + 1 where id % 1000 = 0');
    db.close();
    await untilLogged(primary);
    await waitForReplica(primary, replica, 'big.db', LIMIT_MS);
    const txids = [await backedUp(primary, 'big.db', LIMIT_MS), await backedUp(primary, 'import.db', LIMIT_MS)];
    lap('an update');
    memory.stop();
    replicaMemory.stop();
    console.log(`most resident memory of the primary: ${memory}`);
    console.log(`most resident memory of the replica: ${replicaMemory}`);
    await stopAll(replica, primary);
    lap('stopped');

    for (const [i, name] of NAMES.entries()) {
      const restored = join(folder, `restored-${name}`);
      const args = ['restore', '--json', '-o', restored, `file://${store}/${name}`];
      const said = await run(process.execPath, [SLUICE, ...args], { limitMs: LIMIT_MS });
      assert.is((JSON.parse(said) as { txid: string }).txid, txids[i]);
      for (const node of [primary, replica]) settle(node.backing(name));
      assertSameBytes(restored, primary.backing(name));
      assertSameBytes(replica.backing(name), primary.backing(name));
    }
    lap('restored and compared');
    assertIntact(join(folder, 'restored-big.db'));
    assertSameBytes(primary.backing('import.db'), seed);
    lap('checked');
    assert.ok(memory.peakBytes <= MAX_RESIDENT_BYTES, `the primary had ${memory}`);
  } finally {
    memory.stop();
    replicaMemory.stop();
  }
});

test.after(cleanUp);
test.run();
