// Time limit: 60 min
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { assertIntact, assertSameBytes, settle } from '../e2e/equality.js';
import { MemoryWatch, megabytes } from '../e2e/memory.js';
import { backedUp, stopAll } from '../e2e/nodes.js';
import { run } from '../e2e/programs.js';
import {
  type ClusterNode,
  cleanUp,
  freshFolder,
  startPrimary,
  startReplica,
  untilLogged,
  waitFor,
  waitForReplica,
} from '../support/cluster.js';
import { makeSparseDatabase } from './sparse-database.js';

/**
 * Sizes that need limits: a database across SQLite's lock page in a file with holes, and one large transaction, each
 * replicated, backed up and restored while no process grows with them. SLUICE_FIDELITY_SPARSE_BYTES (20e9 once) and
 * SLUICE_FIDELITY_TRANSACTION_BYTES (500e6 once) are how large they are.
 */
const test = suite('fidelity: sizes');

const SPARSE_BYTES = Number(process.env.SLUICE_FIDELITY_SPARSE_BYTES || 2 ** 30 + 8 * 2 ** 20);
const TRANSACTION_BYTES = Number(process.env.SLUICE_FIDELITY_TRANSACTION_BYTES || 40e6);
const LIMIT_MS = 40 * 60_000;
/** Of one process, with what it has before anything happens. */
const MAX_PROCESS_BYTES = 300e6;
/** A node keeps page checksums in memory: 8 bytes for each page, and for a time twice and a half as much. */
const PER_PAGE_BYTES = 28;
const WRITER = fileURLToPath(new URL('../e2e/big-writer.js', import.meta.url));
const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));

let startMs = performance.now();

function lap(what: string): void {
  console.log(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  startMs = performance.now();
}

/** Runs with a primary that has a store and a replica; both are stopped in order, and the files compared. */
async function withNodes(
  name: string,
  bytes: number,
  sparse: boolean,
  work: (primary: ClusterNode) => Promise<void>,
): Promise<void> {
  const folder = freshFolder('sizes');
  const store = join(folder, 'store');
  const primary = await startPrimary({ backup: { url: store } });
  const replica = await startReplica(primary);
  const watches = [primary, replica].map((node) => new MemoryWatch(node));
  try {
    startMs = performance.now();
    await work(primary);
    await untilLogged(primary);
    await waitForReplica(primary, replica, name, LIMIT_MS);
    lap('replicated');
    const txid = await backedUp(primary, name, LIMIT_MS);
    lap('backed up');
    for (const watch of watches) watch.stop();
    console.log(`most resident memory of the primary: ${watches[0]}`);
    console.log(`most resident memory of the replica: ${watches[1]}`);
    await stopAll(replica, primary);
    lap('stopped');
    const restored = join(folder, 'restored.db');
    const watched = run(process.execPath, [SLUICE, 'restore', '--json', '-o', restored, `file://${store}/${name}`], {
      limitMs: LIMIT_MS,
    });
    assert.is((JSON.parse(await watched) as { txid: string }).txid, txid);
    lap('restored');
    for (const node of [primary, replica]) settle(node.backing(name));
    assertSameBytes(replica.backing(name), primary.backing(name));
    assertSameBytes(restored, primary.backing(name));
    assertIntact(restored);
    if (sparse) for (const path of [replica.backing(name), restored]) assert.ok(hasHoles(path), `${path} has holes`);
    lap('compared');
    const limit = MAX_PROCESS_BYTES + (bytes / 4096) * PER_PAGE_BYTES;
    for (const watch of watches) {
      assert.ok(watch.largestBytes <= limit, `${watch}: over ${megabytes(limit)} in one process`);
    }
  } finally {
    for (const watch of watches) watch.stop();
    cleanUp();
  }
}

function hasHoles(path: string): boolean {
  const { blocks, size } = statSync(path);
  return blocks * 512 < size / 20;
}

test(`a database of ${megabytes(SPARSE_BYTES)} with holes, across the lock page`, async () => {
  const source = join(freshFolder('sparse'), 'sparse.db');
  makeSparseDatabase(source, SPARSE_BYTES);
  assertIntact(source);
  assert.ok(hasHoles(source));
  await withNodes('sparse.db', SPARSE_BYTES, true, async (primary) => {
    const path = primary.path('sparse.db');
    await run('cp', ['--sparse=always', source, path], { limitMs: LIMIT_MS });
    lap('copied in');
    await waitFor(async () => (await primary.position('sparse.db')) !== undefined, LIMIT_MS, 'its position');
    lap('known');
    assert.ok(hasHoles(primary.backing('sparse.db')), 'the holes are kept');
    const db = new Database(path, { timeout: 60_000 });
    const insert = db.prepare('INSERT INTO t (p) VALUES (randomblob(3000))');
    for (const mode of ['delete', 'wal']) {
      db.pragma(`journal_mode = ${mode}`);
      for (let n = 0; n < 3; n++) db.transaction(() => Array.from({ length: 500 }, () => insert.run()))();
    }
    db.close();
    lap('written');
  });
});

test(`a transaction of ${megabytes(TRANSACTION_BYTES)}`, async () => {
  await withNodes('large.db', TRANSACTION_BYTES, false, async (primary) => {
    const bytes = `${TRANSACTION_BYTES}`;
    await run(process.execPath, [WRITER, primary.path('large.db'), bytes, bytes], { limitMs: LIMIT_MS });
    lap(`committed, ${megabytes(statSync(primary.path('large.db')).size)}`);
    // In a rollback mode all of it changes pages that are there.
    const db = new Database(primary.path('large.db'), { timeout: 60_000 });
    db.pragma('journal_mode = delete');
    db.exec("UPDATE rows SET payload = substr(payload, 2) || 'x'");
    db.close();
    lap('changed in a rollback mode');
  });
});

test.after(cleanUp);
test.run();
