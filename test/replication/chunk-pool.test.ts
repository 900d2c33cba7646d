import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { giveEnvelope, takeEnvelope } from '../../src/replication/chunk-pool.js';
import { CHUNK_BYTES } from '../../src/replication/limits.js';

test('room is used again only when it was given back, whatever its size was', () => {
  const first = takeEnvelope(CHUNK_BYTES + 20);
  const second = takeEnvelope(100);
  assert.is(first.length, CHUNK_BYTES + 20);
  assert.is(second.length, 100);
  assert.is.not(first.buffer, second.buffer);
  giveEnvelope(second);
  const third = takeEnvelope(CHUNK_BYTES + 30);
  assert.is(third.length, CHUNK_BYTES + 30);
  assert.is(third.buffer, second.buffer);
});

test('what is larger than any chunk is not kept', () => {
  const large = takeEnvelope(2 * CHUNK_BYTES);
  assert.is(large.length, 2 * CHUNK_BYTES);
  giveEnvelope(large);
  assert.is.not(takeEnvelope(10).buffer, large.buffer);
});

test.run();
