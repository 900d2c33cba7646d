import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { verifyOrder } from '../../src/backup/verify-order.js';

/** `TXID: files`, a group a line; `anew` where it begins with a whole database. */
function order(names: string, from?: number): string[] {
  const files = names.split(' ').map((name) => {
    const [level, minTxid, maxTxid] = name.split(/[:-]/).map(Number) as [number, number, number];
    return { level, minTxid, maxTxid };
  });
  return verifyOrder(files, from).map(({ txid, files: group, anew }) => {
    const list = group.map((file) => `${file.level}:${file.minTxid}-${file.maxTxid}`).join(' ');
    return `${txid}${anew ? ' anew' : ''}: ${list}`;
  });
}

test('a snapshot, and what follows', () => {
  assert.equal(order('0:2-2 0:3-5 9:1-1'), ['0 anew: 9:1-1', '1: 0:2-2', '2: 0:3-5']);
});

test('the smallest steps lead, and the larger ones are read beside them', () => {
  assert.equal(order('9:1-1 0:2-2 0:3-3 0:4-4 1:2-3 2:2-4'), [
    '0 anew: 9:1-1',
    '1: 0:2-2 1:2-3 2:2-4',
    '2: 0:3-3',
    '3: 0:4-4',
  ]);
});

test('whole databases within a step are read before it', () => {
  assert.equal(order('9:1-1 9:1-3 1:2-5 0:6-6 9:1-6'), ['0 anew: 9:1-1', '1: 9:1-3 1:2-5', '5: 9:1-6 0:6-6']);
});

test('files before the oldest whole database, and files within a larger step', () => {
  assert.equal(order('0:2-2 0:3-3 9:1-4 1:4-8 0:7-7 0:8-8 0:9-9'), [
    '0 anew: 9:1-4',
    '4: 0:2-2 0:3-3 1:4-8',
    '8: 0:7-7 0:8-8 0:9-9',
  ]);
});

test('where nothing leads on', () => {
  assert.equal(order('9:1-1 0:3-3 9:1-4 0:5-5'), ['0 anew: 9:1-1', '1 anew: 9:1-4', '4: 0:3-3 0:5-5']);
  assert.equal(order('9:1-1 0:3-3 0:4-4'), ['0 anew: 9:1-1', '1: 0:3-3 0:4-4']);
  assert.equal(order('0:3-3 0:4-4'), ['0: 0:3-3 0:4-4']);
});

test('a small step that leads nowhere: a larger one that was read goes on', () => {
  assert.equal(order('9:1-1 0:2-2 1:2-4 0:5-5'), ['0 anew: 9:1-1', '1: 0:2-2 1:2-4', '4: 0:5-5']);
});

test('going on from where one got', () => {
  assert.equal(order('9:1-9 0:6-6 0:7-7 2:5-8', 5), ['5: 0:6-6 2:5-8', '6: 0:7-7', '8 anew: 9:1-9']);
  assert.equal(verifyOrder([]), []);
});

test.run();
