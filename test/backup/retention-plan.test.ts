import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoreFile } from '../../src/backup/index.js';
import { planRestore } from '../../src/backup/restore-plan.js';
import { planRetention } from '../../src/backup/retention-plan.js';

const POLICY = { ageMs: 100, snapshots: 2, fineMs: 10 };

/** `level:min-max@time`, several. */
function files(text: string): StoreFile[] {
  return text.split(' ').map((word) => {
    const [level, minTxid, maxTxid, timeMs] = word.split(/[:@-]/).map(Number);
    return { level: level!, minTxid: minTxid!, maxTxid: maxTxid!, timeMs: timeMs!, sizeBytes: 100 };
  });
}

function goes(text: string, nowMs: number, way = '', policy = POLICY): string {
  const kept = way === '' ? [] : files(way);
  return planRetention(files(text), kept, policy, nowMs)
    .map((file) => `${file.level}:${file.minTxid}-${file.maxTxid}`)
    .join(' ');
}

test('without a snapshot all stays', () => assert.is(goes('0:1-1@0 0:2-2@500', 500), ''));
test('the newest snapshots stay, however old', () => assert.is(goes('9:1-1@0 9:1-5@10 0:6-6@900', 900), ''));
test('older ones go, and what leads only to the oldest that stays', () =>
  assert.is(goes('9:1-1@0 0:2-3@100 9:1-5@200 0:6-6@500 9:1-8@800 0:9-9@900', 900), '9:1-1 0:2-3'));
test('the one before the age stays: the first moment of it can be restored', () =>
  assert.is(goes('9:1-1@0 9:1-5@200 0:6-6@500 9:1-8@810 9:1-12@850 9:1-14@880 0:15-15@900', 900), '9:1-1'));
test('level 0 goes after a while where it was merged', () =>
  assert.is(goes('9:1-3@0 0:4-4@50 0:5-5@60 1:4-5@60 0:6-6@70 0:7-7@100', 100), '0:4-4 0:5-5'));
test('but not before all that was merged with it', () =>
  assert.is(goes('9:1-3@0 0:4-4@50 0:5-5@95 1:4-5@95 0:6-6@100', 100), ''));
test('what is on the way to the newest state stays', () =>
  assert.is(goes('9:1-3@0 0:4-4@50 0:5-5@60 1:4-5@60 0:6-6@70 0:7-7@100', 100, '9:1-3@0 0:4-4@50'), '0:5-5'));
test('a clock that jumped ahead makes nothing old', () =>
  assert.is(goes('9:1-1@0 9:1-3@20 9:1-5@40 0:6-6@50 0:7-7@51 1:6-7@51', 10_000_000), ''));
test('what one that had jumped ahead left does not stay for ever', () =>
  assert.is(goes('9:1-1@0 9:1-3@9999 0:4-4@110 9:1-5@120 9:1-7@400 9:1-9@500', 520), '9:1-1 9:1-3 9:1-5 0:4-4'));
test('nor does one that jumped back', () => assert.is(goes('9:1-1@0 9:1-3@20 9:1-5@40 0:6-6@50', 1), ''));

test('what is left restores the newest state, and every moment within the age that could be restored before', () => {
  const step = fc.record({
    kind: fc.constantFrom('commit', 'commit', 'commit', 'merge', 'merge2', 'snapshot'),
    waitMs: fc.nat(30),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.nat(80),
      fc.integer({ min: 1, max: 3 }),
      (steps, ageMs, snapshots) => {
        const all: StoreFile[] = [{ level: 9, minTxid: 1, maxTxid: 1, timeMs: 0, sizeBytes: 1 }];
        let [txid, timeMs] = [1, 0];
        const ends = [1, 1, 1];
        for (const { kind, waitMs } of steps) {
          timeMs += waitMs;
          const add = (level: number, minTxid: number): void => {
            if (minTxid <= txid) all.push({ level, minTxid, maxTxid: txid, timeMs, sizeBytes: 1 });
          };
          if (kind === 'commit') {
            txid++;
            add(0, txid);
          } else if (kind === 'snapshot') add(9, 1);
          else {
            const level = kind === 'merge' ? 1 : 2;
            add(level, ends[level]! + 1);
            ends[level] = txid;
          }
        }
        const unique = [
          ...new Map(all.map((file) => [`${file.level}:${file.minTxid}-${file.maxTxid}`, file])).values(),
        ];
        const gone = new Set(planRetention(unique, [], { ageMs, snapshots, fineMs: 20 }, timeMs));
        const left = unique.filter((file) => !gone.has(file));
        assert.is(planRestore(left).txid, txid);
        assert.ok(
          left.filter((file) => file.level === 9).length >=
            Math.min(snapshots, unique.filter((f) => f.level === 9).length),
        );
        // Merged level 0 aside, each end within the age is still one that can be restored to.
        for (const file of unique) {
          if (file.timeMs < timeMs - ageMs || (file.level === 0 && file.timeMs < timeMs - 20)) continue;
          assert.is(planRestore(left, file.maxTxid).txid, file.maxTxid);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test.run();
