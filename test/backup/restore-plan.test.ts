import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileKey } from '../../src/backup/file-names.js';
import { planRestore } from '../../src/backup/restore-plan.js';

/** `level:min-max`, decimal. */
function files(text: string): FileKey[] {
  return text.split(' ').map((word) => {
    const [level, min, max] = word.split(/[:-]/).map(Number);
    return { level: level!, minTxid: min!, maxTxid: max! };
  });
}

function plan(text: string, target?: number): string {
  const { files: chosen, txid, nextTxid } = planRestore(files(text), target);
  const names = chosen.map((file) => `${file.level}:${file.minTxid}-${file.maxTxid}`).join(' ');
  return `${names} = ${txid}${nextTxid === undefined ? '' : ` next ${nextTxid}`}`;
}

function failure(text: string, target?: number): string {
  try {
    return `no error: ${plan(text, target)}`;
  } catch (error) {
    return error instanceof Error && 'code' in error ? `${error.code}: ${error.message}` : String(error);
  }
}

test('the newest snapshot, then what follows it', () => {
  assert.is(plan('9:1-1 0:2-5 0:6-9 9:1-7 0:10-10'), '9:1-7 0:6-9 0:10-10 = 10');
});

test('without a snapshot the chain starts at TXID 1', () => {
  assert.is(plan('0:1-1 0:2-5'), '0:1-1 0:2-5 = 5');
});

test('compacted files are preferred, as far as they go', () => {
  assert.is(plan('0:1-1 0:2-2 0:3-3 0:4-4 0:5-5 1:1-4 2:1-3'), '1:1-4 0:5-5 = 5');
  assert.is(plan('9:1-3 0:4-4 0:5-5 1:4-5 2:4-5'), '9:1-3 2:4-5 = 5');
});

test('files may overlap', () => {
  assert.is(plan('9:1-1 0:2-5 0:2-7 0:6-9'), '9:1-1 0:2-7 0:6-9 = 9');
});

test('a target at the end of a file', () => {
  assert.is(plan('9:1-1 0:2-5 0:6-9 9:1-9 0:10-12', 5), '9:1-1 0:2-5 = 5');
  assert.is(plan('9:1-1 0:2-5 0:6-9 9:1-9', 9), '9:1-9 = 9');
  assert.is(plan('9:1-1 0:2-5', 1), '9:1-1 = 1');
});

test('a target inside of a file: the nearest before, and the nearest after is told', () => {
  assert.is(plan('9:1-1 0:2-5 0:6-9 0:10-12', 7), '9:1-1 0:2-5 = 5 next 9');
  assert.is(plan('9:1-1 0:2-9 9:1-12', 4), '9:1-1 = 1 next 9');
});

test('a gap before the newest snapshot does not matter', () => {
  assert.is(plan('9:1-1 0:2-5 9:1-20 0:21-22'), '9:1-20 0:21-22 = 22');
  assert.is(plan('9:1-1 0:2-5 9:1-20 0:21-22', 12), '9:1-1 0:2-5 = 5 next 20');
});

test('nothing there', () => {
  assert.throws(
    () => planRestore([]),
    (error: Error & { code: string }) => error.code === 'RESTORE_EMPTY',
  );
});

test('a gap after it does', () => {
  const message =
    'RESTORE_GAP: a file is missing: the backup leads up to TXID 0000000000000005, but has files up to 0000000000000009';
  assert.is(failure('9:1-1 0:2-5 0:7-9'), message);
  assert.is(plan('9:1-1 0:2-5 0:7-9', 5), '9:1-1 0:2-5 = 5');
});

test('nothing to start from', () => {
  assert.is(failure('0:2-5'), 'RESTORE_GAP: the backup has no snapshot to start from');
});

test('a target outside of the backup', () => {
  assert.is(
    failure('9:1-4 0:5-9', 10),
    'RESTORE_TXID: TXID 000000000000000a is not in the backup: the newest is 0000000000000009',
  );
  assert.is(
    failure('9:1-4 0:5-9', 3),
    'RESTORE_TXID: TXID 0000000000000003 is not in the backup: the oldest is 0000000000000004',
  );
});

test('no chain gets further than the one chosen', () => {
  const file = fc.record({
    level: fc.constantFrom(0, 0, 0, 1, 9),
    min: fc.integer({ min: 1, max: 12 }),
    more: fc.nat(4),
  });
  const all = fc.array(file, { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(all, fc.integer({ min: 1, max: 16 }), (specs, target) => {
      const store = specs.map(({ level, min, more }) => {
        const minTxid = level === 9 ? 1 : min;
        return { level, minTxid, maxTxid: min + more };
      });
      const best = furthest(store, target);
      const newest = Math.max(...store.map((entry) => entry.maxTxid));
      if (target > newest || best === 0) {
        assert.throws(() => planRestore(store, target));
        return;
      }
      const chosen = planRestore(store, target);
      assert.is(chosen.txid, best);
      let reached = 0;
      for (const { minTxid, maxTxid } of chosen.files) {
        assert.ok(minTxid <= reached + 1 && maxTxid > reached, 'each file leads on');
        reached = maxTxid;
      }
      assert.is(reached, best);
    }),
  );
});

/** By trying everything that leads on. */
function furthest(store: readonly FileKey[], target: number): number {
  const reached = new Set([0]);
  for (const from of reached) {
    for (const { minTxid, maxTxid } of store) {
      if (minTxid <= from + 1 && maxTxid > from && maxTxid <= target) reached.add(maxTxid);
    }
  }
  return Math.max(...reached);
}

test.run();
