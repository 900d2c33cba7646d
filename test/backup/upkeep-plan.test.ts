import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StoreFile } from '../../src/backup/index.js';
import { isSnapshotDue, planCompaction } from '../../src/backup/upkeep-plan.js';

const LEVELS_MS = [30, 300];

/** `level:min-max@time`, several. */
function files(text: string): StoreFile[] {
  return text.split(' ').map((word) => {
    const [level, minTxid, maxTxid, timeMs] = word.split(/[:@-]/).map(Number);
    return { level: level!, minTxid: minTxid!, maxTxid: maxTxid!, timeMs: timeMs!, sizeBytes: 100 };
  });
}

function plan(way: string, nowMs: number): string {
  const found = planCompaction(files(way), LEVELS_MS, nowMs);
  return found === undefined
    ? 'nothing'
    : `${found.level}: ${found.inputs.map((file) => `${file.minTxid}-${file.maxTxid}`).join(' ')}`;
}

test('nothing is due before the oldest has waited', () => assert.is(plan('9:1-3@0 0:4-4@10 0:5-5@20', 39), 'nothing'));
test('then all that follow it', () => assert.is(plan('9:1-3@0 0:4-4@10 0:5-5@20', 40), '1: 4-4 5-5'));
test('a file alone stays', () => assert.is(plan('9:1-3@0 0:4-4@10', 10_000), 'nothing'));
test('a snapshot is never merged', () => assert.is(plan('9:1-3@0 1:4-5@10 0:6-6@10', 10_000), 'nothing'));
test('lower levels first', () => assert.is(plan('9:1-3@0 1:4-5@0 1:6-7@0 0:8-8@900 0:9-9@950', 1000), '1: 8-8 9-9'));
test('then higher ones', () => assert.is(plan('9:1-3@0 1:4-5@0 1:6-7@0 0:8-8@990 0:9-9@995', 1000), '2: 4-5 6-7'));
test('the highest level stays', () => assert.is(plan('9:1-3@0 2:4-5@0 2:6-7@0', 100_000), 'nothing'));
test('what lies between higher levels is merged too', () =>
  assert.is(plan('9:1-3@0 2:4-5@0 0:6-6@0 0:7-7@0 2:8-9@0', 1000), '1: 6-6 7-7'));
test('as many as one merge takes do not wait', () => {
  const many = Array.from({ length: 70 }, (_, i) => `0:${i + 4}-${i + 4}@1000`).join(' ');
  const found = planCompaction(files(`9:1-3@0 ${many}`), LEVELS_MS, 1000);
  assert.equal(
    found?.inputs.map((file) => file.minTxid),
    Array.from({ length: 64 }, (_, i) => i + 4),
  );
});
test('no levels, nothing to do', () =>
  assert.is(planCompaction(files('9:1-3@0 0:4-4@0 0:5-5@0'), [], 10_000), undefined));

test('a snapshot is due when the database moved on and time has passed', () => {
  const way = files('9:1-3@100 0:4-4@150');
  assert.is(isSnapshotDue(way, 4, 50, 149), false);
  assert.is(isSnapshotDue(way, 4, 50, 150), true);
  assert.is(isSnapshotDue(way, 3, 50, 1000), false);
  assert.is(isSnapshotDue([], 3, 50, 1000), false);
  assert.is(isSnapshotDue(files('9:1-3@1000'), 4, 50, 100), true, 'the clock had jumped ahead when it was made');
  assert.is(isSnapshotDue(files('9:1-3@130'), 4, 50, 100), false);
});

test.run();
