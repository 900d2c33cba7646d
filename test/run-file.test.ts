import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judge } from './run-file.js';

const SUMMARY = (total: number, passed: number, skipped: number) =>
  `\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   ${skipped}\n  Duration:  1.00ms\n\n`;

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

function counts(output: string, end: string | undefined, inCi = false): Counts {
  const { passed, failed, skipped } = judge('x.test.ts', output, end, { inCi, notes: [], elapsedMs: 0 });
  return { passed, failed, skipped };
}

const test = suite('test runner');

const CASES: readonly (readonly [string, string, string | undefined, Counts])[] = [
  ['all pass', SUMMARY(3, 3, 0), undefined, { passed: 3, failed: 0, skipped: 0 }],
  ['one fails', SUMMARY(3, 2, 0), 'exit code 1', { passed: 2, failed: 1, skipped: 0 }],
  ['passes, then crashes', SUMMARY(3, 3, 0), 'ended by SIGSEGV', { passed: 3, failed: 1, skipped: 0 }],
  ['crashes', 'boom', 'exit code 1', { passed: 0, failed: 1, skipped: 0 }],
  ['ends without a summary', 'hm', undefined, { passed: 0, failed: 1, skipped: 0 }],
  ['runs no test', SUMMARY(0, 0, 0), undefined, { passed: 0, failed: 1, skipped: 0 }],
  ['skips in uvu', SUMMARY(2, 2, 1), undefined, { passed: 2, failed: 0, skipped: 1 }],
  ['skips by name', `SKIP s3: no versitygw\n${SUMMARY(2, 2, 0)}`, undefined, { passed: 2, failed: 0, skipped: 1 }],
  ['skips all of it', 'SKIP all: no root\n', undefined, { passed: 0, failed: 0, skipped: 1 }],
];

for (const [name, output, end, expected] of CASES) {
  test(name, () => assert.equal(counts(output, end), expected));
}

test('in CI a skip is a failure', () => {
  assert.equal(counts(SUMMARY(2, 2, 1), undefined, true), { passed: 2, failed: 1, skipped: 1 });
  assert.equal(counts('SKIP all: no root\n', undefined, true), { passed: 0, failed: 1, skipped: 1 });
  assert.equal(counts(SUMMARY(2, 2, 0), undefined, true), { passed: 2, failed: 0, skipped: 0 });
});

test.run();
