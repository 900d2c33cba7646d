import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
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
import { SluiceError } from '../../src/errors.js';
import { type FileNode, PROCEED } from '../../src/fuse/index.js';
import { DatabaseSums, decodeHeader, encodeLtx, type LtxPage, pageChecksum } from '../../src/ltx/index.js';
import { waitFor } from '../support/cluster.js';
import { makeOtherBoot } from './support/other-boot.js';

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

  /** All pages, as the next transaction has them. */
  snapshot(pages: Record<number, number>, commit: number): Uint8Array {
    this.change(pages, commit);
    const txid = { minTxid: 1, maxTxid: this.txid };
    const list = Object.entries(pages).map(([pgno, fill]) => ({ pgno: Number(pgno), data: Buffer.alloc(512, fill) }));
    return encodeLtx({ pageSize: 512, commit, ...txid, timestampMs: 1, preApply: 0n, postApply: this.checksum }, list);
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
  /** Only these calls fail; left out: all. */
  failing: string | undefined;
  /** Calls go on when this is resolved. */
  held: Promise<void> | undefined;
  private async did(call: string): Promise<void> {
    this.calls.push(call);
    if (this.held !== undefined) await this.held;
    if (this.fails !== undefined && (this.failing ?? call) === call) throw this.fails;
  }
  start = () => this.did('start');
  open = (name: string) => this.did(`open ${name}`);
  apply = (name: string) => this.did(`apply ${name}`);
  replace = (name: string) => this.did(`replace ${name}`);
  drop = (name: string) => this.did(`drop ${name}`);
  checkpoint = async () => 0;
  look = async () => ({ wal: undefined });
  stop = () => this.did('stop');
}

let root: string;
let applier: FakeApplier;
let sink: ReplicaDatabases;
let folder: DataFolder;
let shared: SharedState;
let sent: Extract<ToWorker, { kind: 'slot' }>[];
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'sluice-replica-'));
  applier = new FakeApplier();
  folder = new DataFolder(root);
  shared = new SharedState();
  sent = [];
  sink = make();
});
test.after.each(() => {
  sink.saveClean();
  rmSync(root, { recursive: true, force: true });
});

function make(maxDatabases?: number): ReplicaDatabases {
  return new ReplicaDatabases({
    folder,
    mountPath: '/mnt',
    ...(maxDatabases === undefined ? {} : { maxDatabases }),
    shared,
    applier,
    send: (message) => {
      if (message.kind === 'slot') sent.push(message);
    },
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

test('a header that promises more pages than its bytes can hold takes no memory, and a snapshot is asked for', async () => {
  const first = new Source().change({ 1: 1, 2: 2 }, 2);
  const position = await sink.receive('a.db', first);
  const facts = { pageSize: 512, timestampMs: 1, postApply: (1n << 63n) | 5n };
  for (const commit of [2000, 4e8, 4_000_000_000]) {
    const next = { ...facts, commit, minTxid: 2, maxTxid: 2, preApply: position.checksum };
    const page = { pgno: 1, data: Buffer.alloc(512, 1) };
    const before = process.memoryUsage().arrayBuffers;
    assert.is(await codeOf(sink.receive('a.db', encodeLtx(next, [page]))), 'LTX_HEADER', `${commit}`);
    assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024, `${commit}: memory`);
    const image = Uint8Array.from(first);
    new DataView(image.buffer).setUint32(12, commit);
    assert.is(await codeOf(sink.receive('b.db', image)), 'LTX_HEADER', `${commit}, the first`);
    const receiver = sink.receiveSnapshot('b.db', 'new');
    await receiver.write(image);
    assert.is(await codeOf(receiver.finish()), 'LTX_HEADER', `${commit}, a snapshot`);
  }
  assert.equal(sink.positions().get('a.db'), position);
  // As many new pages as its bytes hold are not too many.
  const grown = new Source();
  await sink.receive('c.db', grown.change({ 1: 1 }, 1));
  const all = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [i + 1, 0]));
  assert.is((await sink.receive('c.db', grown.change(all, 5000))).txid, 2);
});

test('bytes that do not say what checksum they lead to are refused', async () => {
  const source = new Source();
  const position = await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const page = { pgno: 1, data: Buffer.alloc(512, 9) };
  const facts = { pageSize: 512, commit: 1, timestampMs: 1, postApply: 0n };
  const next = { ...facts, minTxid: 2, maxTxid: 2, preApply: position.checksum };
  assert.is(await codeOf(sink.receive('a.db', encodeLtx(next, [page]))), 'LTX_NO_CHECKSUM');
  const receiver = sink.receiveSnapshot('a.db', 'behind');
  await receiver.write(encodeLtx({ ...facts, minTxid: 1, maxTxid: 5, preApply: 0n }, [page]));
  assert.is(await codeOf(receiver.finish()), 'LTX_NO_CHECKSUM');
  assert.equal(sink.positions().get('a.db'), position);
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

/** Holds the applier until the returned function is called. */
function hold(): () => void {
  let free = () => {};
  applier.held = new Promise((resolve) => {
    free = () => {
      applier.held = undefined;
      resolve();
    };
  });
  return free;
}

const logAhead = (ltx: Uint8Array) => sink.logAhead('a.db', ltx, decodeHeader(ltx));
const applies = () => applier.calls.filter((call) => call.startsWith('apply')).length;

test('what follows is logged while what comes before is being applied, and is applied once', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const free = hold();
  const [second, third, fourth] = [2, 3, 4].map((fill) => source.change({ 1: fill }, 1)) as Uint8Array[];
  const received = sink.receive('a.db', second!);
  assert.is(logAhead(second!), undefined, 'what is under way is not in the log yet');
  await waitFor(() => applies() === 2);
  assert.is(logAhead(fourth!), undefined, 'it does not follow');
  const { maxTxid, postApply } = decodeHeader(third!);
  assert.equal(logAhead(third!), { txid: maxTxid, checksum: postApply });
  assert.is(logAhead(third!), undefined, 'it is there');
  assert.ok(logAhead(fourth!));
  assert.equal([database().log.last, database().position.txid], [4, 1]);
  const others = [third!, fourth!].map((ltx) => sink.receive('a.db', ltx));
  free();
  assert.equal(
    (await Promise.all([received, ...others])).map(({ txid }) => txid),
    [2, 3, 4],
  );
  assert.is(applies(), 4);
  assert.equal(sink.positions().get('a.db'), { txid: 4, checksum: source.checksum });
});

test('what follows is logged at once where nothing is under way, before it is looked at', async () => {
  const source = new Source();
  const first = source.change({ 1: 1 }, 1);
  assert.is(logAhead(first), undefined, 'there is no database that it could follow');
  await sink.receive('a.db', first);
  const free = hold();
  const [second, third] = [2, 3].map((fill) => source.change({ 1: fill }, 1)) as Uint8Array[];
  const otherSize = Uint8Array.from(second!);
  new DataView(otherSize.buffer).setUint32(8, 1024);
  assert.is(logAhead(otherSize), undefined, 'of another page size');
  assert.is(logAhead(third!), undefined, 'it does not follow');
  const other = new Source();
  other.change({ 1: 50 }, 1);
  assert.is(logAhead(other.change({ 1: 2 }, 1)), undefined, 'it follows in another history');
  const page = { pgno: 1, data: Buffer.alloc(512, 2) };
  const later = { ...decodeHeader(second!), minTxid: 3, maxTxid: 3 };
  assert.is(logAhead(encodeLtx(later, [page])), undefined, 'it has another TXID');
  const several = { ...decodeHeader(second!), maxTxid: 3 };
  assert.is(logAhead(encodeLtx(several, [page])), undefined, 'it holds several');
  const { maxTxid, postApply } = decodeHeader(second!);
  assert.equal(logAhead(second!), { txid: maxTxid, checksum: postApply });
  assert.equal([database().log.last, database().position.txid], [2, 1]);
  assert.ok(logAhead(third!));
  const received = [second!, third!].map((ltx) => sink.receive('a.db', ltx));
  free();
  assert.equal(
    (await Promise.all(received)).map(({ txid }) => txid),
    [2, 3],
  );
  assert.is(applies(), 3);
  assert.equal(sink.positions().get('a.db'), { txid: 3, checksum: source.checksum });
  await sink.drop('a.db', { txid: 3, checksum: source.checksum });
  assert.is(logAhead(first), undefined, 'there is none any more');
});

test('what was logged at once and is wrong is found in its turn, and whoever brought it is told how', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const damaged = Uint8Array.from(source.change({ 1: 2 }, 1));
  damaged[120]! ^= 1;
  assert.throws(
    () => logAhead(damaged),
    (error: { code: string }) => error.code.startsWith('LTX_'),
  );
  assert.is(database().log.last, 1, 'it is not counted');
  const lie = encodeLtx({ ...decodeHeader(damaged), postApply: (1n << 63n) | 5n }, [
    { pgno: 1, data: Buffer.alloc(512, 9) },
  ]);
  assert.ok(logAhead(lie));
  assert.is(await codeOf(sink.receive('a.db', lie)), 'REPLICA_DIVERGED');
  assert.equal([database().log.last, database().position.txid, applies()], [1, 1, 1]);
  assert.is(await codeOf(sink.receive('a.db', lie)), 'REPLICA_GAP', 'only a snapshot helps');
  assert.is(logAhead(lie), undefined);
});

test('what was logged at once and cannot be applied stays, and is tried again', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const second = source.change({ 1: 2 }, 1);
  applier.fails = new Error('no space');
  assert.ok(logAhead(second));
  assert.is(await codeOf(sink.receive('a.db', second)), 'REPLICA_FAILED');
  assert.equal([database().log.last, database().position.txid], [2, 1]);
  applier.fails = undefined;
  await sink.receive('a.db', second);
  assert.equal(sink.positions().get('a.db'), { txid: 2, checksum: source.checksum });
});

test('what was logged ahead is applied though its connection is gone, and may come again by another', async () => {
  const source = new Source();
  sink.follows(7n, new Map());
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const free = hold();
  const [second, third] = [2, 3].map((fill) => source.change({ 1: fill }, 1)) as Uint8Array[];
  const received = sink.receive('a.db', second!);
  await waitFor(() => applies() === 2);
  assert.ok(logAhead(third!));
  free();
  await received;
  await waitFor(() => database().position.txid === 3);
  assert.is(database().state.origin, 7n);
  for (const ltx of [second!, third!]) await sink.receive('a.db', ltx);
  assert.equal([applies(), database().position.txid], [3, 3]);
  await sink.receive('a.db', source.change({ 1: 4 }, 1));
  assert.is(database().position.txid, 4);
});

test('what was logged ahead stays when what comes before cannot be applied, and is tried again', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const free = hold();
  const [second, third] = [2, 3].map((fill) => source.change({ 1: fill }, 1)) as Uint8Array[];
  const received = sink.receive('a.db', second!, () => undefined);
  await waitFor(() => applies() === 2);
  assert.ok(logAhead(third!));
  applier.fails = new Error('no space');
  free();
  assert.is(await codeOf(received), 'REPLICA_FAILED');
  assert.is(await codeOf(sink.receive('a.db', third!)), 'REPLICA_FAILED');
  assert.equal([database().log.last, database().position.txid], [3, 1]);
  applier.fails = undefined;
  await sink.receive('a.db', second!);
  await sink.receive('a.db', third!);
  assert.equal(sink.positions().get('a.db'), { txid: 3, checksum: source.checksum });
});

test('what was logged ahead and leads elsewhere is found when it is applied, and only a snapshot helps', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const free = hold();
  const [second, third] = [2, 3].map((fill) => source.change({ 1: fill }, 1)) as Uint8Array[];
  const received = sink.receive('a.db', second!, () => undefined);
  await waitFor(() => applies() === 2);
  const lie = encodeLtx({ ...decodeHeader(third!), postApply: (1n << 63n) | 5n }, [
    { pgno: 1, data: Buffer.alloc(512, 9) },
  ]);
  assert.ok(logAhead(lie));
  free();
  await received;
  assert.is(await codeOf(sink.receive('a.db', lie)), 'REPLICA_DIVERGED');
  assert.is(await codeOf(sink.receive('a.db', third!)), 'REPLICA_GAP');
  assert.equal([database().log.last, database().position.txid], [2, 2]);
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
  database().log.append(2, [before]);
  const header = Buffer.alloc(512);
  header.write('SQLite format 3\0', 'latin1');
  header.writeUInt16BE(512, 16);
  writeFileSync(join(folder.files, 'a.db'), header);
  sink = make();
  const [recovered] = await sink.recover(false);
  assert.is(recovered?.outcome, 'clean');
  await sink.resume();
  assert.equal(sink.positions().get('a.db'), { txid: 2, checksum: source.checksum });
  assert.equal(applier.calls, ['apply a.db', 'open a.db', 'apply a.db']);
});

test('what a power loss left of no position that it had is said to be so, by each start, until a snapshot is there', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1, 2: 2 }, 2));
  putDatabase('a.db');
  sink.close();
  makeOtherBoot(join(folder.metaOf('a.db'), 'state'));
  for (const end of ['crash', 'power loss', 'stop']) {
    sink = make();
    await sink.recover(false);
    await sink.resume();
    assert.is(database().problem?.error.code, 'REPLICA_UNKNOWN', `before a ${end}`);
    if (end === 'stop') sink.saveClean();
    else sink.close();
    if (end === 'power loss') makeOtherBoot(join(folder.metaOf('a.db'), 'state'));
  }
  sink = make();
  assert.is((await sink.recover(false))[0]?.outcome, 'clean');
  assert.is(database().problem?.error.code, 'REPLICA_UNKNOWN', 'after a stop in order');
  await putSnapshot('a.db', 'diverged');
  assert.is(database().problem, undefined);
  sink.close();
  sink = make();
  await sink.recover(false);
  assert.is(database().problem, undefined);
});

test('a start in the middle of a snapshot says so', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db');
  applier.fails = new SluiceError('APPLY_FAILED', 'the disk is full');
  await codeOf(putSnapshot('a.db', 'behind'));
  sink.close();
  sink = make();
  assert.is((await sink.recover(false))[0]?.outcome, 'being replaced');
  assert.is(database().problem?.error.code, 'REPLICA_UNKNOWN');
  assert.is(sink.positions().get('a.db')?.checksum, 0n);
});

test('a position that the primary confirms is none of which nothing is known', async () => {
  const position = await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db');
  sink.close();
  makeOtherBoot(join(folder.metaOf('a.db'), 'state'));
  sink = make();
  await sink.recover(false);
  const held = sink.positions().get('a.db')!;
  assert.is.not(held.checksum, position.checksum);
  sink.follows(7n, new Map([['a.db', held]]));
  assert.is(database().problem, undefined);
  sink.close();
  sink = make();
  await sink.recover(false);
  assert.is(database().problem, undefined);
});

test('a database whose state a power loss took is set aside where the primary has no such one', async () => {
  for (const name of ['here.db', 'there.db']) putDatabase(name);
  writeFileSync(join(folder.files, 'notes.txt'), 'no database');
  const outcomes = await sink.recover(false);
  assert.equal(outcomes.map(({ name }) => name).sort(), ['here.db', 'there.db']);
  assert.equal([...sink.positions().keys()], [], 'it has no position');
  await sink.retain(new Set(['there.db']));
  assert.equal(asides(), ['unknown-to-primary']);
  assert.equal(applier.calls, ['drop here.db']);
  await sink.receive('there.db', new Source().change({ 1: 1 }, 1));
  assert.equal(asides().sort(), ['unknown', 'unknown-to-primary']);
});

test('a database that came back under its name, but for its state, is removed where the primary has no such one', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  await sink.drop('a.db', sink.positions().get('a.db')!);
  applier.fails = new SluiceError('APPLY_FAILED', 'the power is lost when all is done but the state');
  applier.failing = 'replace a.db';
  await codeOf(putSnapshot('a.db', 'new'));
  putDatabase('a.db');
  sink.close();
  sink = make();
  await sink.recover(false);
  applier.calls.length = 0;
  await sink.retain(new Set());
  assert.equal(applier.calls, ['drop a.db']);
  assert.equal([...sink.every()], []);
});

/** Lies at `name` as the applier would have left it: a database of one page. */
function putDatabase(name: string, extraBytes = 0): void {
  const header = Buffer.alloc(512 + extraBytes);
  header.write('SQLite format 3\0', 'latin1');
  header.writeUInt16BE(512, 16);
  writeFileSync(join(folder.files, name), header);
}

async function putSnapshot(name: string, reason: 'new' | 'behind' | 'diverged', fill = 7): Promise<void> {
  const receiver = sink.receiveSnapshot(name, reason);
  await receiver.write(new Source().change({ 1: fill, 2: fill }, 2));
  await receiver.finish();
}

const asides = (): string[] =>
  existsSync(folder.setAside)
    ? readdirSync(folder.setAside)
        .map((name) => name.slice(25))
        .sort()
    : [];

/** Ends it in order and begins anew on the same folder. */
async function restart(): Promise<string | undefined> {
  sink.saveClean();
  sink = make();
  const [recovered] = await sink.recover(false);
  return recovered?.outcome;
}

test('what the primary’s log does not reach is set aside, unless it came from this run of the primary', async () => {
  sink.follows(7n, new Map());
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  putDatabase('a.db');
  assert.is(await restart(), 'clean');
  sink.follows(7n, new Map());
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), [], 'known to be the primary’s own, after a restart too');

  sink.follows(8n, new Map([['a.db', { txid: 1, checksum: 5n }]]));
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), ['behind'], 'of another run, and nothing says that it goes on where that one was');

  sink.follows(9n, new Map([['a.db', database().position]]));
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), ['behind'], 'the run has the same position');

  await putSnapshot('a.db', 'diverged');
  assert.equal(asides(), ['behind', 'diverged'], 'whoever it came from');

  // As a primary this node takes a transaction of its own.
  const own = { txid: 2, checksum: 6n };
  database().advance({ position: own, pageSize: 512, pageCount: 1, timeMs: 1, pages: [] });
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), ['behind', 'behind', 'diverged'], 'a local transaction');
});

test('a run of the primary that does not say which it is proves nothing', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db');
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), ['behind']);
});

test('a file of which nothing is known is set aside before the first transaction or snapshot takes its place', async () => {
  putDatabase('a.db');
  putDatabase('b.db');
  await sink.recover(false);
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  await putSnapshot('b.db', 'new');
  assert.equal(asides().sort(), ['new', 'unknown']);
});

test('a snapshot that cannot be written is tried again without another copy, after a restart too', async () => {
  sink.follows(7n, new Map());
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db');
  applier.fails = new Error('no space left');
  applier.failing = 'replace a.db';
  for (let i = 0; i < 3; i++) assert.is.not(await codeOf(putSnapshot('a.db', 'diverged')), 'STOPPING');
  assert.equal(asides(), ['diverged']);
  assert.is(sink.positions().get('a.db')?.checksum, 0n, 'what its files are is not known');
  // Half replaced, and then the machine died.
  writeFileSync(join(folder.files, 'a.db'), readFileSync(join(folder.files, 'a.db')).fill(3, 200));
  assert.is(await restart(), 'being replaced');
  assert.is(sink.positions().get('a.db')?.checksum, 0n);
  assert.is(await codeOf(sink.receive('a.db', new Source().change({ 1: 2 }, 1))), 'REPLICA_GAP');
  applier.fails = undefined;
  await putSnapshot('a.db', 'diverged');
  assert.equal(asides(), ['diverged']);
  // From here on it is like any other.
  await putSnapshot('a.db', 'diverged');
  assert.equal(asides(), ['diverged', 'diverged']);
});

test('setting aside does not hold up the process, is cut short by a stop, and leaves no half copy', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db', 64 * 1024 * 1024);
  writeFileSync(join(folder.files, 'a.db-wal'), 'the WAL');
  let turns = 0;
  let counting = true;
  const count = (): void => {
    turns++;
    if (counting) setImmediate(count);
  };
  count();
  await putSnapshot('a.db', 'diverged');
  counting = false;
  assert.ok(turns > 50, `${turns} turns of the event loop`);
  const [aside] = readdirSync(folder.setAside);
  const copies = readdirSync(join(folder.setAside, aside!)).sort();
  assert.equal(copies, ['a.db', 'a.db-wal', 'a.db.txt']);
  assert.is(statSync(join(folder.setAside, aside!, 'a.db')).size, 64 * 1024 * 1024 + 512);

  const cut = codeOf(putSnapshot('a.db', 'diverged'));
  while (asides().length < 2) await new Promise((done) => setImmediate(done));
  sink.saveClean();
  assert.is(await cut, 'SET_ASIDE_FAILED');
  assert.equal(asides(), ['diverged']);
  mkdirSync(join(folder.setAside, '2026-01-01T00-00-00-000Z-cut.unfinished'));
  sink = make();
  await sink.recover(false);
  assert.equal(asides(), ['diverged']);
});

test('a database that cannot be opened, or brought on, is not given up for it', async () => {
  for (const failing of ['open', 'apply']) {
    const source = new Source();
    await sink.receive('a.db', source.change({ 1: 1 }, 1));
    putDatabase('a.db');
    const second = source.change({ 1: 2 }, 1);
    database().log.append(2, [second]);
    sink = make();
    await sink.recover(false);
    const before = sink.positions().get('a.db');
    applier.failing = `${failing} a.db`;
    applier.fails = new SluiceError('APPLY_FAILED', `${failing} a.db: SQLITE_FULL: database or disk is full`);
    await sink.resume();
    assert.is(database().problem?.error.code, 'REPLICA_FAILED', failing);
    assert.equal(sink.positions().get('a.db'), before, failing);
    applier.failing = 'none';
    // It is taken from the log, so that the same from the stream is there already.
    assert.equal(await sink.receive('a.db', second), { txid: 2, checksum: source.checksum }, failing);
    assert.is(database().problem, undefined, failing);
    await sink.drop('a.db', database().position);
    rmSync(folder.metaOf('a.db'), { recursive: true });
    rmSync(join(folder.files, 'a.db'));
    sink = make();
  }
});

test('files that are no database are given up: only a snapshot helps', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  putDatabase('a.db');
  applier.fails = new SluiceError('APPLY_FAILED', 'open a.db: SQLITE_NOTADB: file is not a database');
  await sink.resume();
  assert.is(sink.positions().get('a.db')?.checksum, 0n);
  applier.fails = undefined;
  await putSnapshot('a.db', 'behind');
  assert.equal(asides(), ['behind'], 'whatever they are');
  assert.is.not(sink.positions().get('a.db')?.checksum, 0n);
});

test('a database whose state cannot be opened is shown, and takes nothing; the others go on', async () => {
  for (const name of ['a.db', 'b.db', 'c.db']) {
    await sink.receive(name, new Source().change({ 1: 1 }, 1));
    putDatabase(name);
  }
  sink.saveClean();
  mkdirSync(join(folder.metaOf('a.db'), '00000000000000ff.log'));
  rmSync(join(folder.metaOf('b.db'), 'state'));
  mkdirSync(join(folder.metaOf('b.db'), 'state'));
  sink = make();
  const outcomes = await sink.recover(false);
  assert.equal(
    outcomes.map(({ name, outcome }) => `${name} ${outcome}`),
    ['c.db clean'],
  );
  assert.equal([...sink.positions().keys()], ['c.db']);
  const problems = [...sink.problems()].map(({ name, error }) => [name, error.code, error.message]);
  assert.equal(
    problems.map(([name, code]) => `${name} ${code}`),
    ['a.db RECOVERY_FAILED', 'b.db RECOVERY_FAILED'],
  );
  assert.match(problems[1]![2]!, /b\.db: its state in .* cannot be opened/);
  assert.is(await codeOf(sink.receive('a.db', new Source().change({ 1: 2 }, 1))), 'RECOVERY_FAILED');
  assert.is(await codeOf(sink.drop('a.db', { txid: 1, checksum: 1n })), undefined);
  await sink.retain(new Set(['c.db']));
});

test('more databases than a node can hold are refused, each for itself', async () => {
  sink = make(2);
  for (const name of ['a.db', 'b.db']) {
    await sink.receive(name, new Source().change({ 1: 1 }, 1));
    putDatabase(name);
  }
  assert.is(await codeOf(sink.receive('c.db', new Source().change({ 1: 1 }, 1))), 'DATABASE_LIMIT');
  assert.equal([...sink.positions().keys()], ['a.db', 'b.db']);
  assert.equal(
    applier.calls.filter((call) => call.includes('c.db')),
    [],
  );
  sink.saveClean();
  sink = make(1);
  const [recovered, ...others] = await sink.recover(false);
  assert.is(recovered?.outcome, 'clean');
  assert.equal(others, []);
  assert.is([...sink.problems()].length, 1);
});

test('a dropped database leaves its slot to others, and comes back where it was', async () => {
  sink = make(2);
  const kept = new Source();
  await sink.receive('kept.db', kept.change({ 1: 1 }, 1));
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1, 2: 1 }, 2));
  putDatabase('a.db');
  for (let i = 0; i < 5; i++) {
    await sink.drop('a.db', sink.positions().get('a.db')!);
    assert.equal(
      sink.every().map(({ name, slot }) => `${name} ${slot}`),
      ['kept.db 0'],
    );
    assert.is(shared.position(1).txid, 0);
    const other = new Source();
    await sink.receive(`b-${i}.db`, other.change({ 1: 2 }, 1));
    assert.is(shared.position(1).txid, 1);
    assert.is(await codeOf(sink.receive('c.db', new Source().change({ 1: 3 }, 1))), 'DATABASE_LIMIT');
    await sink.drop(`b-${i}.db`, sink.positions().get(`b-${i}.db`)!);
    // Its TXIDs go on, at the primary and here.
    const image = source.snapshot({ 1: 4 + i, 2: 1 }, 2);
    const receiver = sink.receiveSnapshot('a.db', 'new');
    await receiver.write(image);
    assert.equal(await receiver.finish(), { txid: source.txid, checksum: source.checksum });
  }
  await sink.receive('kept.db', kept.change({ 1: 7 }, 1));
  assert.equal([...sink.positions().keys()], ['kept.db', 'a.db']);
  assert.equal(
    sent.filter(({ name }) => name === 'a.db').map(({ slot }) => slot),
    [1, undefined, 1, undefined, 1, undefined, 1, undefined, 1, undefined, 1],
  );
});

test('what is received while a database is being dropped keeps it', async () => {
  const source = new Source();
  await sink.receive('a.db', source.change({ 1: 1 }, 1));
  const position = sink.positions().get('a.db')!;
  const dropped = sink.drop('a.db', position);
  const receiver = sink.receiveSnapshot('a.db', 'new');
  await receiver.write(source.snapshot({ 1: 2 }, 1));
  await Promise.all([dropped, receiver.finish()]);
  assert.equal(sink.positions().get('a.db'), { txid: source.txid, checksum: source.checksum });
});

test('a folder under meta/ whose name was not written is nobody’s', async () => {
  for (const [entry, name] of [
    ['half', ''],
    ['folder', undefined],
  ] as const) {
    mkdirSync(join(folder.meta, entry));
    if (name === undefined) mkdirSync(join(folder.meta, entry, 'name'));
    else writeFileSync(join(folder.meta, entry, 'name'), name);
  }
  await sink.recover(false);
  assert.equal(sink.every(), []);
});

test('databases that the primary does not have are set aside, each for itself', async () => {
  for (const name of ['a.db', 'b.db', 'c.db']) {
    await sink.receive(name, new Source().change({ 1: 1 }, 1));
    putDatabase(name);
  }
  applier.failing = 'drop a.db';
  applier.fails = new Error('no space left');
  await sink.retain(new Set(['c.db']));
  assert.equal([...sink.positions().keys()], ['a.db', 'c.db']);
  assert.is(database().problem?.error.code, 'SET_ASIDE_FAILED');
  applier.fails = undefined;
  await sink.retain(new Set(['c.db']));
  assert.equal([...sink.positions().keys()], ['c.db']);
  assert.equal(
    asides().map((name) => name.slice(0, 18)),
    ['unknown-to-primary', 'unknown-to-primary'],
    'once each',
  );
});

test('the logs are made durable now and then', async () => {
  await sink.receive('a.db', new Source().change({ 1: 1 }, 1));
  sink.syncLogs();
  assert.is(shared.takeLogDirty(0), false, 'somebody took it up');
});

test('only the applier changes files; applications read, and keep their marks in the -shm', () => {
  const shared = new SharedState();
  shared.setApplierPid(42);
  const inbox: ToWorker[] = [{ kind: 'slot', slot: 3, name: 'new.db' }];
  const watcher = new ReplicaWatcher({ shared, databases: [{ name: 'a.db', slot: 0 }], receive: () => inbox.shift() });
  const node = (path: string): FileNode => {
    const counts = { handles: 0, writers: 0, inherited: false };
    const file = { id: 1, path, fd: () => -1, ...counts, orphan: false, passed: false, tag: undefined };
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
    assert.is(watcher.maySetAttributes(), PROCEED);
  }
  shared.setPosition(3, 5, 1n << 63n, 1);
  assert.is(watcher.virtual('new.db-pos')?.toString(), '0000000000000005/8000000000000000\n');
  assert.is(watcher.virtual('.primary'), undefined);
});

test.run();
