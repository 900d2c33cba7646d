import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KernelLocks } from '../../src/fuse/kernel-locks.js';

const test = suite('KernelLocks');

const TABLE = `1: POSIX  ADVISORY  WRITE 31281 fe:00:12 1073741824 1073742335
2: FLOCK  ADVISORY  WRITE 4 00:2f:12 0 EOF
3: POSIX  ADVISORY  READ  31281 00:2f:12 1073741826 1073742335
3: -> POSIX  ADVISORY  WRITE 31282 00:2f:12 1073741826 1073742335
4: POSIX  ADVISORY  WRITE 31283 00:2f:13 1073741826 1073742335
5: OFDLCK ADVISORY  WRITE -1 00:2f:14 100 EOF
6: POSIX  ADVISORY  WRITE 31284 00:2f:15 0 99
`;

function locks(connection = 0x2f): KernelLocks {
  return new KernelLocks(connection, () => TABLE);
}

test('finds the write locks of one file', () => {
  assert.is(locks().isWriteLocked(13, 1073741826, 1073742335), true);
  assert.is(locks().isWriteLocked(13, 1073742335, 1073742399), true);
  assert.is(locks().isWriteLocked(13, 1073742336, 1073742399), false);
  assert.is(locks().isWriteLocked(13, 0, 1073741825), false);
});

test('not read locks, those that somebody waits for, flock(2)s, or other file systems', () => {
  assert.is(locks().isWriteLocked(12, 0, Number.MAX_SAFE_INTEGER), false);
  assert.is(locks(0x2e).isWriteLocked(13, 0, Number.MAX_SAFE_INTEGER), false);
});

test('locks of open file descriptions, and to the end', () => {
  assert.is(locks().isWriteLocked(14, 1073741826, 1073742335), true);
  assert.is(locks().isWriteLocked(14, 0, 99), false);
  assert.is(locks().isWriteLocked(15, 0, 0), true);
});

test('reads a long table again: a lock may be missed between two pieces of it', () => {
  let reads = 0;
  const other = '1: POSIX  ADVISORY  READ  1 fe:00:9 0 1\n'.repeat(100);
  const missing = new KernelLocks(0x2f, () => (++reads === 2 ? other + TABLE : other));
  assert.is(missing.isWriteLocked(13, 1073741826, 1073742335), true);
  assert.is(reads, 2);
});

test('the real table has no lock on a file of no mount', () => {
  assert.is(new KernelLocks(1_000_000).isWriteLocked(1, 0, Number.MAX_SAFE_INTEGER), false);
});

test.run();
