import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Position, ZERO_POSITION } from '../../src/ltx/index.js';
import { decide, type History } from '../../src/replication/replica-state.js';

const ours = (txid: number): Position => (txid === 0 ? ZERO_POSITION : { txid, checksum: BigInt(txid) });
const other = (txid: number): Position => ({ txid, checksum: BigInt(txid) + 1000n });

function history(first: number, last: number, bytes = 100): History {
  return {
    position: ours(last),
    pageSize: 4096,
    pageCount: 1000,
    log: { first, bytes, get: (txid) => (txid >= first && txid <= last ? { before: ours(txid - 1) } : undefined) },
  };
}

const MIB = 1024 * 1024;
const table: [what: string, held: Position | undefined, primary: History, decision: string][] = [
  ['the same', ours(9), history(5, 9), 'live'],
  ['the same, log empty', ours(9), history(10, 9), 'live'],
  ['one behind', ours(8), history(5, 9), 'catch-up'],
  ['at the log’s beginning', ours(4), history(5, 9), 'catch-up'],
  ['before the log’s beginning', ours(3), history(5, 9), 'behind'],
  ['behind an empty log', ours(8), history(10, 9), 'behind'],
  ['other checksum at the same TXID', other(9), history(5, 9), 'diverged'],
  ['other checksum within the log', other(7), history(5, 9), 'diverged'],
  ['ahead', ours(10), history(5, 9), 'diverged'],
  ['far ahead', other(1000), history(5, 9), 'diverged'],
  ['nothing, whole log', undefined, history(1, 9), 'catch-up'],
  ['ZERO_POSITION, whole log', ZERO_POSITION, history(1, 9), 'catch-up'],
  ['nothing, log pruned', undefined, history(2, 9), 'new'],
  ['nothing, log empty', undefined, history(10, 9), 'new'],
  ['nothing, log as large as the database', undefined, history(1, 9, 4_096_000), 'catch-up'],
  ['nothing, log larger than the database', undefined, history(1, 9, 4_096_001), 'new'],
  ['nothing, short log of a tiny database', undefined, { ...history(1, 9, MIB), pageCount: 1 }, 'catch-up'],
];

for (const [what, held, primary, expected] of table) {
  test(what, () => {
    const decision = decide(held, primary);
    assert.is(decision.kind === 'snapshot' ? decision.reason : decision.kind, expected);
  });
}

test.run();
