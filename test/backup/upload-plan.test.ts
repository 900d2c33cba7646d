import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planUpload, type StoredState } from '../../src/backup/upload-plan.js';
import type { LogEntry, TransactionLog } from '../../src/database/types.js';

const LIMITS = { mergeBytes: 100, mergeTransactions: 5 };

/** Checksums are TXIDs. */
function position(txid: number): { txid: number; checksum: bigint } {
  return { txid, checksum: BigInt(txid) };
}

function stored(txid: number, snapshotTxid = 1, checksum = BigInt(txid), restorableTxid = txid): StoredState {
  return { position: { txid, checksum }, snapshotTxid, restorableTxid, foreign: false };
}

/** A log of `first` to `last`, every transaction of `size` bytes. */
function database(first: number, last: number, size: (txid: number) => number = () => 10) {
  const log: TransactionLog = {
    first,
    last,
    bytes: 0,
    get(txid) {
      if (txid < first || txid > last) return undefined;
      const entry: Partial<LogEntry> = { txid, size: size(txid), before: position(txid - 1), after: position(txid) };
      return entry as LogEntry;
    },
  };
  return { position: position(last), log };
}

function plan(db: ReturnType<typeof database>, state: StoredState | undefined): string {
  const found = planUpload(db, state, LIMITS);
  return found.kind === 'increment' ? found.entries.map((entry) => entry.txid).join(' ') : found.kind;
}

test('an empty store gets a snapshot', () => assert.is(plan(database(1, 3), undefined), 'snapshot'));
test('no transaction yet', () => assert.is(plan(database(1, 0), undefined), 'idle'));
test('no transaction any more', () => assert.is(plan(database(1, 0), stored(4)), 'ahead'));
test('all is stored', () => assert.is(plan(database(1, 3), stored(3)), 'idle'));
test('what follows is merged', () => assert.is(plan(database(1, 6), stored(3)), '4 5 6'));
test('at most so many transactions', () => assert.is(plan(database(1, 20), stored(3)), '4 5 6 7 8'));
test('at most so many bytes', () =>
  assert.is(
    plan(
      database(1, 6, () => 45),
      stored(3),
    ),
    '4 5',
  ));
test('a large one alone', () =>
  assert.is(
    plan(
      database(1, 6, (txid) => (txid === 4 ? 900 : 10)),
      stored(3),
    ),
    '4',
  ));
test('up to a large one', () =>
  assert.is(
    plan(
      database(1, 6, (txid) => (txid === 5 ? 900 : 10)),
      stored(3),
    ),
    '4',
  ));
test('the log just reaches', () => assert.is(plan(database(4, 6), stored(3)), '4 5 6'));
test('the log does not reach', () => assert.is(plan(database(5, 6), stored(3)), 'snapshot'));
test('an empty log', () => assert.is(plan(database(7, 6), stored(3)), 'snapshot'));
test('another history in the store', () => assert.is(plan(database(1, 6), stored(3, 1, 99n)), 'snapshot'));
test('a store without checksums', () => assert.is(plan(database(1, 6), stored(3, 1, 0n)), 'snapshot'));
test('a store without checksums, and a log that does not know where it begins', () => {
  const { position: at, log } = database(4, 6);
  const get = (txid: number) => {
    const entry = log.get(txid);
    return entry === undefined ? undefined : { ...entry, before: { ...entry.before, checksum: 0n } };
  };
  const unknown = { position: at, log: { ...log, get } };
  assert.is(plan(unknown, stored(3, 1, 0n)), 'snapshot');
  assert.is(plan(unknown, { ...stored(3, 1, 0n), foreign: true }), 'diverged');
});
test('a store that is ahead', () => assert.is(plan(database(1, 6), stored(7)), 'ahead'));
test('a gap', () => assert.is(plan(database(1, 6), stored(3, 1, 3n, 2)), 'snapshot'));
test('a gap, and all is stored', () => assert.is(plan(database(1, 3), stored(3, 0, 3n, 0)), 'snapshot'));
test('a gap in a store that is ahead', () => assert.is(plan(database(1, 3), stored(6, 1, 6n, 2)), 'ahead'));
test('another history up to the same TXID', () => assert.is(plan(database(1, 6), stored(6, 2, 99n)), 'snapshot'));
test('the same, as a snapshot', () => assert.is(plan(database(1, 6), stored(6, 6, 99n)), 'diverged'));

test("another node's store is gone on with where this history has its position", () => {
  assert.is(plan(database(1, 6), { ...stored(4), foreign: true }), '5 6');
  assert.is(plan(database(1, 4), { ...stored(4), foreign: true }), 'idle');
});
test("another node's store is left alone otherwise", () => {
  assert.is(plan(database(1, 6), { ...stored(4, 1, 99n), foreign: true }), 'diverged');
  assert.is(plan(database(6, 9), { ...stored(4), foreign: true }), 'diverged');
  assert.is(plan(database(1, 4), { ...stored(4, 1, 99n), foreign: true }), 'diverged');
  assert.is(plan(database(1, 6), { ...stored(8), foreign: true }), 'ahead');
});

test.run();
