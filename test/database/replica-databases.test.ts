import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Applier } from '../../src/apply/index.js';
import { DataFolder } from '../../src/database/data-folder.js';
import { ReplicaDatabases } from '../../src/database/replica-sink.js';
import { ReplicaWatcher } from '../../src/database/replica-watcher.js';
import { SharedState } from '../../src/database/shared.js';
import type { ToWorker } from '../../src/database/worker-messages.js';
import { type FileNode, PROCEED } from '../../src/fuse/index.js';
import { DatabaseSums, encodeLtx, type LtxPage, pageChecksum } from '../../src/ltx/index.js';

const test = suite('a replica’s databases');
const EROFS = 30;

/** Primary's side: pages, and the LTX of each change of them. */
class Source {
  private readonly sums = new DatabaseSums(512);
  txid = 0;

  change(pages: Record<number, number>, commit: number): Uint8Array {
    const preApply = this.txid === 0 ? 0n : this.sums.checksum();
    const list: LtxPage[] = [];
    const sum = { high: 0, low: 0 };
    for (const [number, fill] of Object.entries(pages)) {
      const data = Buffer.alloc(512, fill);
      pageChecksum(Number(number), data, 0, 512, sum);
      this.sums.set(Number(number), sum.high, sum.low);
      list.push({ pgno: Number(number), data });
    }
    this.sums.truncate(commit);
    this.txid++;
    const txid = { minTxid: this.txid, maxTxid: this.txid };
    return encodeLtx({ pageSize: 512, commit, ...txid, timestampMs: 1, preApply, postApply: this.checksum }, list);
  }

  get checksum(): bigint {
    return this.sums.checksum();
  }
}

/** An applier that takes note, and fails when told. */
class FakeApplier implements Applier {
  readonly calls: string[] = [];
  readonly pid = 1;
  fails: Error | undefined;
  private async did(call: string): Promise<void> {
    this.calls.push(call);
    if (this.fails !== undefined) throw this.fails;
  }
  start = () => this.did('start');
  open = (name: string) => this.did(`open ${name}`);
  apply = (name: string) => this.did(`apply ${name}`);
  replace = (name: string) => this.did(`replace ${name}`);
  drop = (name: string) => this.did(`drop ${name}`);
  checkpoint = async () => 0;
  stop = () => this.did('stop');
}

let root: string;
let applier: FakeApplier;
let sink: ReplicaDatabases;
let folder: DataFolder;
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'sluice-replica-'));
  applier = new FakeApplier();
  folder = new DataFolder(root);
  sink = make();
});
test.after.each(() => {
  sink.saveClean();
  rmSync(root, { recursive: true, force: true });
});

function make(): ReplicaDatabases {
  return new ReplicaDatabases({
    folder,
    shared: new SharedState(),
    applier,
    send: () => undefined,
    onApplied: () => undefined,
    warn: () => undefined,
  });
}

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

const database = () => [...sink.every()][0]!;

test('takes transactions that follow, shrink, and grow, and no others', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1, 2: 2, 3: 3 }, 3));
  const position = await sink.receive('a.db', source.change({ 1: 4 }, 2));
  assert.equal(position, { txid: 2, checksum: source.checksum });
  await sink.receive('a.db', source.change({ 1: 5, 3: 6, 4: 7 }, 4));
  assert.equal(sink.positions().get('a.db'), { txid: 3, checksum: source.checksum });
  const skipped = source.change({ 2: 9 }, 4);
  assert.is(await codeOf(sink.receive('a.db', source.change({ 2: 10 }, 4))), 'REPLICA_GAP');
  await sink.receive('a.db', skipped);
  const other = new Source();
  for (let i = 0; i < 4; i++) other.change({ 1: 50 + i }, 1);
  assert.is(await codeOf(sink.receive('a.db', other.change({ 1: 3 }, 1))), 'REPLICA_GAP');
  assert.is(database().log.last, 4);
  assert.is(applier.calls.length, 4);
});

test('bytes that are damaged, or lead elsewhere than they promise, change nothing', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1, 2: 2 }, 2));
  const before = sink.positions().get('a.db');
  const next = source.change({ 1: 3, 3: 3 }, 3);
  for (const at of [5, 20, 90, 110, next.length - 20, next.length - 1]) {
    const wrong = Uint8Array.from(next);
    wrong[at]! ^= 1;
    assert.match((await codeOf(sink.receive('a.db', wrong))) ?? 'taken', /^(LTX|REPLICA)_/, `byte ${at}`);
  }
  assert.match((await codeOf(sink.receive('a.db', next.subarray(0, 150)))) ?? 'taken', /^LTX_/);
  const liar = new Source();
  liar.change({ 1: 1, 2: 2 }, 2);
  const lie = encodeLtx(
    {
      pageSize: 512,
      commit: 2,
      minTxid: 2,
      maxTxid: 2,
      timestampMs: 1,
      preApply: before!.checksum,
      postApply: (1n << 63n) | 5n,
    },
    [{ pgno: 1, data: Buffer.alloc(512, 9) }],
  );
  assert.is(await codeOf(sink.receive('a.db', lie)), 'REPLICA_DIVERGED');
  assert.equal(sink.positions().get('a.db'), before);
  assert.is(applier.calls.length, 1);
  // The table is as it was: what is right is still taken.
  assert.equal(await sink.receive('a.db', next), { txid: 2, checksum: source.checksum });
});

test('a transaction that could not be applied can come again', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const next = source.change({ 1: 2, 2: 2 }, 2);
  applier.fails = new Error('no space left');
  assert.is(await codeOf(sink.receive('a.db', next)), 'REPLICA_FAILED');
  assert.is(sink.positions().get('a.db')?.txid, 1);
  assert.is(database().problem?.error.code, 'REPLICA_FAILED');
  applier.fails = undefined;
  await sink.receive('a.db', next);
  assert.is(database().problem, undefined);
  assert.is(sink.positions().get('a.db')?.checksum, source.checksum);
});

test('a snapshot takes the place, whatever was there; what had diverged is set aside', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  writeFileSync(join(folder.files, 'a.db'), 'the old file');
  const image = new Source().change({ 1: 7, 2: 8 }, 2);
  const receiver = sink.receiveSnapshot('a.db', 'diverged');
  await receiver.write(image.subarray(0, 60));
  await receiver.write(image.subarray(60));
  assert.is((await receiver.finish()).txid, 1);
  assert.equal(applier.calls, ['apply a.db', 'replace a.db']);
  const [aside] = readdirSync(folder.setAside);
  assert.equal(readdirSync(join(folder.setAside, aside!)).sort(), ['a.db', 'a.db.txt']);
  assert.equal(readdirSync(folder.spool), []);
  const given = sink.receiveSnapshot('a.db', 'behind');
  await given.write(image);
  await given.abort();
  assert.equal(readdirSync(folder.spool), []);
});

test('a drop removes what is as expected, and keeps a copy of what is not', async () => {
  const source = new Source();
  for (const name of ['same', 'other']) {
    const position = await sink.receive(name, new Source().change({ 1: 1 }, 1));
    writeFileSync(join(folder.files, name), 'file');
    await sink.drop(name, name === 'same' ? position : { txid: 9, checksum: source.checksum });
  }
  const kept = readdirSync(folder.setAside, { recursive: true }).filter((path) => !String(path).endsWith('.txt'));
  assert.is(
    kept.some((path) => String(path).endsWith('/other')),
    true,
  );
  assert.is(
    kept.some((path) => String(path).endsWith('/same')),
    false,
  );
  assert.is(sink.positions().size, 0);
  assert.is(existsSync(join(folder.files, 'same')), true, 'the applier removes it');
});

test('a name that leads out of the mount is refused', async () => {
  for (const name of ['../x', 'a/../../x', '', 'a-wal']) {
    assert.is(await codeOf(sink.receive(name, new Source().change({ 1: 1 }, 1))), 'DATABASE_NAME', name);
  }
  assert.equal(applier.calls, []);
});

test('after a crash, what was logged and perhaps not applied is applied again', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const before = Buffer.from(source.change({ 1: 2 }, 1));
  // Logged, and then the process died.
  database().log.append(2, before);
  const header = Buffer.alloc(512);
  header.write('SQLite format 3\0', 'latin1');
  header.writeUInt16BE(512, 16);
  writeFileSync(join(folder.files, 'a.db'), header);
  sink = make();
  const [recovered] = await sink.recover();
  assert.is(recovered?.outcome, 'clean');
  await sink.resume();
  assert.equal(sink.positions().get('a.db'), { txid: 2, checksum: source.checksum });
  assert.equal(applier.calls, ['apply a.db', 'open a.db', 'apply a.db']);
});

test('only the applier changes files; applications read, and keep their marks in the -shm', () => {
  const shared = new SharedState();
  shared.setApplierPid(42);
  const inbox: ToWorker[] = [{ kind: 'slot', slot: 3, name: 'new.db' }];
  const watcher = new ReplicaWatcher({ shared, databases: [{ name: 'a.db', slot: 0 }], receive: () => inbox.shift() });
  const node = (path: string): FileNode => {
    const file = { id: 1, path, fd: () => -1, handles: 0, writers: 0, orphan: false, tag: undefined };
    watcher.added(file);
    return file;
  };
  const [main, wal, shm] = [node('a.db'), node('a.db-wal'), node('a.db-shm')];
  const bytes = Buffer.alloc(1);
  for (const [pid, expected] of [
    [42, PROCEED],
    [7, EROFS],
    [0, EROFS],
  ] as const) {
    for (const file of [main, wal]) {
      assert.is(watcher.mayOpen(file, 2, pid), expected);
      assert.is(watcher.mayOpen(file, 0, pid), PROCEED);
      assert.is(watcher.mayOpen(file, 0x200, pid), expected);
      assert.is(watcher.mayWrite(file, 0, bytes, 0, 1, pid), expected);
      assert.is(watcher.mayResize(file, 0, pid), expected);
    }
    assert.is(watcher.mayOpen(shm, 2, pid), PROCEED);
    assert.is(watcher.mayWrite(shm, 0, bytes, 0, 1, pid), PROCEED);
    assert.is(watcher.mayUnlink(shm, pid), expected);
    assert.is(watcher.mayCreate('x', pid), expected);
    assert.is(watcher.mayRename('a', 'b', undefined, pid), expected);
    assert.is(watcher.mayChange('a', pid), expected);
  }
  shared.setPosition(3, 5, 1n << 63n, 1);
  assert.is(watcher.virtual('new.db-pos')?.toString(), '0000000000000005/8000000000000000\n');
  assert.is(watcher.virtual('.primary'), undefined);
});

test.run();
