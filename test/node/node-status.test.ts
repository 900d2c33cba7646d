import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Applier } from '../../src/apply/index.js';
import { Database } from '../../src/database/database.js';
import { DataFolder, ReplicaDatabases, SharedState } from '../../src/database/index.js';
import { recoverReplica } from '../../src/database/recovery.js';
import { WalTracker } from '../../src/database/wal-tracker.js';
import { healthOf } from '../../src/http/index.js';
import { encodeLtx, pageChecksum } from '../../src/ltx/index.js';
import { databaseStatus, nodeProblems } from '../../src/node-status.js';
import { MountBench } from '../database/support/mount-bench.js';
import { makeOtherBoot } from '../database/support/other-boot.js';
import { Shadow } from '../database/support/shadow.js';
import { PRIMARY, REPLICA } from '../http/status-fixture.js';

const test = suite('node status');
const NAME = 'a.db';
const LAG_LIMIT_MS = 10_000;
let cleanUps: (() => unknown)[] = [];

test.after.each(async () => {
  for (const each of cleanUps.reverse()) await each();
  cleanUps = [];
});

/** A primary with one database. */
async function primary(): Promise<{ on: MountBench; db: Shadow; database: Database }> {
  const on = new MountBench();
  cleanUps.push(() => on.remove());
  await on.start();
  const db = new Shadow(on, NAME, 'wal');
  cleanUps.push(() => db.close());
  await db.run('CREATE TABLE t (p)');
  await on.quiet();
  return { on, db, database: databaseOf(on) };
}

async function restarted(on: MountBench): Promise<Database> {
  const next = new MountBench(on.root);
  await next.start();
  cleanUps.push(() => next.stop(false));
  return databaseOf(next);
}

function databaseOf(on: MountBench): Database {
  return [...on.databases.every()].find(({ name }) => name === NAME)!;
}

/** A replica with one database, and an applier that fails from then on. */
async function brokenReplica(act: (sink: ReplicaDatabases) => Promise<void>): Promise<Database> {
  const root = mkdtempSync(join(tmpdir(), 'sluice-status-'));
  cleanUps.push(() => rmSync(root, { recursive: true }));
  let broken = false;
  const did = async () => {
    if (broken) throw new Error('the applier cannot');
  };
  const applier: Applier = {
    look: async () => ({ wal: undefined }),
    pid: 1,
    start: did,
    open: did,
    apply: did,
    replace: did,
    drop: did,
    checkpoint: async () => 0,
    stop: did,
  };
  const sink = new ReplicaDatabases({
    folder: new DataFolder(root),
    mountPath: '/mnt',
    shared: new SharedState(),
    applier,
    send: () => undefined,
    onApplied: () => undefined,
    warn: () => undefined,
  });
  await sink.receive(NAME, firstLtx());
  broken = true;
  await act(sink);
  return [...sink.every()][0]!;
}

function firstLtx(): Uint8Array {
  const data = Buffer.alloc(512, 1);
  const sum = { high: 0, low: 0 };
  pageChecksum(1, data, 0, 512, sum);
  const postApply = BigInt.asUintN(64, (BigInt(sum.high >>> 0) << 32n) | BigInt(sum.low >>> 0)) | (1n << 63n);
  const header = { pageSize: 512, commit: 1, minTxid: 1, maxTxid: 1, timestampMs: 1, preApply: 0n, postApply };
  return encodeLtx(header, [{ pgno: 1, data }]);
}

/** Each problem that a database can have: how it really comes about, and whether the node is fit with it. */
const PROBLEMS: Readonly<Record<string, { readonly fit: boolean; readonly make: () => Promise<Database> }>> = {
  DATABASE_DAMAGED: {
    fit: false,
    async make() {
      const { on } = await primary();
      await on.stop(true);
      writeFileSync(on.backing(NAME), 'this is no database, but it is not empty either');
      return restarted(on);
    },
  },
  RECOVERY_FAILED: {
    fit: false,
    async make() {
      const { on } = await primary();
      await on.stop(false);
      const next = new MountBench(on.root);
      const { load } = WalTracker.prototype;
      WalTracker.prototype.load = () => {
        throw new Error('EIO: i/o error, read');
      };
      try {
        await next.databases.recover(false);
      } finally {
        WalTracker.prototype.load = load;
      }
      return databaseOf(next);
    },
  },
  REPLICA_FAILED: { fit: false, make: () => brokenReplica((sink) => sink.resume()) },
  REPLICA_UNKNOWN: {
    fit: true,
    async make() {
      const { on, db } = await primary();
      await on.stop(false);
      db.db.exec('CREATE TABLE other (p)');
      db.db.pragma('wal_checkpoint(TRUNCATE)');
      makeOtherBoot(join(on.folder.metaOf(NAME), 'state'));
      const database = new Database(NAME, 0, new DataFolder(on.root), new SharedState(), () => Promise.reject());
      cleanUps.push(() => database.close());
      writeFileSync(`${database.path}-wal`, '');
      copyFileSync(db.path, database.path);
      await recoverReplica(database, false, { files: on.folder.files, mountPath: '/mnt' });
      return database;
    },
  },
  SET_ASIDE_FAILED: { fit: true, make: () => brokenReplica((sink) => sink.retain(new Set())) },
  LOG_WRITE: {
    fit: true,
    async make() {
      const { on, db, database } = await primary();
      database.log.append = () => {
        throw new Error('no space left');
      };
      await db.run('INSERT INTO t VALUES (1)');
      await on.quiet();
      return database;
    },
  },
  CAPTURE_FAILED: {
    fit: true,
    async make() {
      const { on, db, database } = await primary();
      database.advance = () => {
        throw new Error('no space left');
      };
      await db.run('INSERT INTO t VALUES (1)');
      await on.quiet();
      return database;
    },
  },
};

for (const [code, { fit, make }] of Object.entries(PROBLEMS)) {
  test(`${code}: shown, and /health is ${fit ? 200 : 503}`, async () => {
    const database = await make();
    const problems = nodeProblems([database], []);
    assert.equal(
      problems.map((problem) => [problem.code, problem.subject]),
      [[code, NAME]],
    );
    assert.is(healthOf({ ...PRIMARY, problems }, LAG_LIMIT_MS).status, fit ? 'ok' : 'unfit');
    if (database.live) assert.is(databaseStatus(database, 'replica', 0, null, null).state, fit ? 'ok' : 'damaged');
  });
}

test('these are all that the sources report of databases', () => {
  const folder = 'src/database';
  const codes = readdirSync(folder).flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(/\.fail\(\s*[^;]*?'([A-Z_]+)'/g)].map((match) => match[1]!),
  );
  assert.equal([...new Set(codes)].sort(), Object.keys(PROBLEMS).sort());
});

test('a problem that stream and database both tell is shown once, and what makes unfit comes first', async () => {
  const { on, db, database } = await primary();
  database.log.append = () => {
    throw new Error('no space left');
  };
  await db.run('INSERT INTO t VALUES (1)');
  await on.quiet();
  const shown = nodeProblems([database], []);
  const other = { code: 'REPLICA_FAILED', subject: 'b.db', message: 'm', hint: '', since: PRIMARY.startedAt };
  const codes = nodeProblems([database], [...shown, other, { ...other, message: 'again' }]).map(({ code }) => code);
  assert.equal(codes, ['REPLICA_FAILED', 'LOG_WRITE']);
});

test('a replica is behind when it has not had for over a second what the primary has, or that is not known', async () => {
  const { database } = await primary();
  const state = (lagMs: number | null) => databaseStatus(database, 'replica', lagMs, null, null).state;
  assert.is(state(0), 'ok');
  assert.is(state(1_000), 'ok');
  assert.is(state(1_001), 'behind');
  assert.is(state(600_000), 'behind');
  assert.is(state(null), 'behind');
  assert.is(databaseStatus(database, 'primary', null, null, null).state, 'ok');
  assert.is(healthOf(REPLICA, LAG_LIMIT_MS).status, 'ok');
});

test.run();
