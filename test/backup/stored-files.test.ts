import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileKey } from '../../src/backup/file-names.js';
import { planRestore } from '../../src/backup/restore-plan.js';
import { StoredFiles } from '../../src/backup/stored-files.js';

/** `level:min-max`, decimal. */
function stored(text: string, runLimit?: number): string {
  const files = new StoredFiles(runLimit);
  for (const word of text.split(' ').filter((part) => part !== '')) {
    const [level, min, max] = word.split(/[:-]/).map(Number);
    files.add({ level: level!, minTxid: min!, maxTxid: max! });
  }
  const { newest } = files;
  const name = newest === undefined ? 'none' : `${newest.level}:${newest.minTxid}-${newest.maxTxid}`;
  return `${name}, snapshot ${files.snapshotTxid}, restorable ${files.restorableTxid}`;
}

test('nothing', () => assert.is(stored(''), 'none, snapshot 0, restorable 0'));
test('a snapshot and what follows', () => assert.is(stored('9:1-3 0:4-4 0:5-9'), '0:5-9, snapshot 3, restorable 9'));
test('in any order', () => assert.is(stored('0:5-9 0:4-4 9:1-3'), '0:5-9, snapshot 3, restorable 9'));
test('no snapshot', () => assert.is(stored('0:4-4 0:5-9'), '0:5-9, snapshot 0, restorable 0'));
test('from TXID 1 without a snapshot', () => assert.is(stored('0:1-1 0:2-5'), '0:2-5, snapshot 0, restorable 5'));
test('a hole', () => assert.is(stored('9:1-3 0:4-4 0:6-9'), '0:6-9, snapshot 3, restorable 4'));
test('a hole before the newest snapshot', () =>
  assert.is(stored('9:1-3 0:4-4 0:6-9 9:1-8'), '0:6-9, snapshot 8, restorable 9'));
test('a hole that is filled', () => assert.is(stored('9:1-3 0:6-9 1:4-6'), '0:6-9, snapshot 3, restorable 9'));
test('a snapshot as new as the newest', () => assert.is(stored('9:1-5 0:4-5'), '9:1-5, snapshot 5, restorable 5'));
test('more holes than are kept: what is missing is still known to be missing', () => {
  assert.is(stored('9:1-1 0:3-3 0:5-5 0:7-7 0:9-9', 3), '0:9-9, snapshot 1, restorable 1');
  assert.is(stored('9:1-1 0:3-3 0:5-5 0:7-7 0:9-9 9:1-9', 3), '9:1-9, snapshot 9, restorable 9');
});

const FILE = fc.record({
  level: fc.constantFrom(0, 0, 0, 1, 9),
  min: fc.integer({ min: 1, max: 12 }),
  more: fc.nat(4),
});

test('it gets exactly as far as a restore does', () => {
  fc.assert(
    fc.property(fc.array(FILE, { minLength: 1, maxLength: 12 }), (specs) => {
      const keys: FileKey[] = specs.map(({ level, min, more }) => {
        return { level, minTxid: level === 9 ? 1 : min, maxTxid: min + more };
      });
      const files = new StoredFiles();
      for (const key of keys) files.add(key);
      const newest = Math.max(...keys.map((key) => key.maxTxid));
      assert.is(files.newest?.maxTxid, newest);
      let reached = 0;
      try {
        reached = planRestore(keys).txid;
      } catch {
        assert.ok(files.restorableTxid < newest, 'a restore fails');
        return;
      }
      assert.is(files.restorableTxid, reached);
    }),
    { numRuns: 2000 },
  );
});

test.run();
