import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type DatabaseState, INITIAL_STATE, StateFile } from '../../src/database/state-file.js';
import { SumsFile } from '../../src/database/sums-file.js';
import { Crc64, DatabaseSums } from '../../src/ltx/index.js';

const test = suite('state and sums files');
const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const fresh = (): string => join(folder, `${++files}`);

const RECORD_SIZE = 256;

/** Each field another value, so that none can stand in another's place. */
const STATE: DatabaseState = {
  txid: 0x1122334455,
  checksum: 0x8899aabbccddeeffn,
  pageSize: 65536,
  pageCount: 0xfffffffe,
  walSalt1: 0xdeadbeef,
  walSalt2: 0xfeedface,
  walFrames: 4_000_000_000,
  timeMs: 1_795_000_000_123,
  clean: true,
  untrusted: false,
  dropped: true,
  redoFrom: 0x5544332211,
  replacing: true,
  stray: true,
  origin: 0x0102030405060708n,
  fileSize: 2 ** 41 + 1,
  fileTimeMs: 1_795_000_000_123.25,
  walSize: 2 ** 40 + 3,
  walTimeMs: 1_795_000_000_456.5,
};

function writeStates(...states: DatabaseState[]): string {
  const path = fresh();
  const file = new StateFile(path);
  for (const state of states) file.write(state);
  file.close();
  return path;
}

function found(path: string): { state: DatabaseState | undefined; sameBoot: boolean } {
  const file = new StateFile(path);
  file.close();
  return { state: file.found, sameBoot: file.sameBoot };
}

test('a state of the time of plain CRCs: where it stood, but not what it held', () => {
  const path = writeStates({ ...STATE, redoFrom: 5 });
  const bytes = readFileSync(path);
  const at = bytes.readUInt32BE(0) === 0 ? RECORD_SIZE : 0;
  bytes.write('SLS1', at, 'latin1');
  const crc = new Crc64();
  crc.update(bytes, at, at + RECORD_SIZE - 8);
  bytes.writeUInt32BE(crc.high, at + RECORD_SIZE - 8);
  bytes.writeUInt32BE(crc.low, at + RECORD_SIZE - 4);
  writeFileSync(path, bytes);
  assert.equal(found(path).state, { ...STATE, redoFrom: 5, checksum: 0n, untrusted: true });
});

test('reads back what was written, each field its own', () => {
  const path = writeStates(STATE);
  assert.equal(found(path), { state: STATE, sameBoot: true });
  for (const flag of ['clean', 'untrusted', 'dropped', 'replacing'] as const) {
    const state = { ...INITIAL_STATE, untrusted: false, [flag]: true };
    assert.equal(found(writeStates(state)).state, state, flag);
  }
});

test('a new file has none', () => {
  assert.equal(found(fresh()), { state: undefined, sameBoot: false });
});

test('a write that is torn anywhere leaves the state before it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 5 }),
      fc.integer({ min: 0, max: RECORD_SIZE - 1 }),
      fc.integer({ min: 1, max: 255 }),
      (writes, at, bits) => {
        const states = Array.from({ length: writes }, (_, i) => ({ ...STATE, txid: i + 1 }));
        const path = writeStates(...states);
        const bytes = readFileSync(path);
        const slot = (writes & 1) * RECORD_SIZE;
        // Bytes 4..7 and those behind the fields are not used, but are covered like the others.
        bytes[slot + at]! ^= bits;
        writeFileSync(path, bytes);
        assert.equal(found(path).state, states[writes - 2]);
        const again = new StateFile(path);
        again.write(states[writes - 1]!);
        again.close();
        assert.equal(found(path).state, states[writes - 1]);
      },
    ),
  );
});

test('a file that is cut has the one record that is whole', () => {
  const path = writeStates({ ...STATE, txid: 1 }, { ...STATE, txid: 2 });
  truncateSync(path, RECORD_SIZE + 100);
  assert.is(found(path).state?.txid, 2);
});

test('says when it was written before the machine booted', () => {
  const path = writeStates(STATE);
  const bytes = readFileSync(path).subarray(RECORD_SIZE);
  bytes[60]! ^= 1;
  const crc = new Crc64();
  crc.update(bytes, 0, RECORD_SIZE - 8);
  bytes.writeUInt32BE(crc.high >>> 0, RECORD_SIZE - 8);
  bytes.writeUInt32BE(crc.low >>> 0, RECORD_SIZE - 4);
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, RECORD_SIZE, RECORD_SIZE);
  closeSync(fd);
  assert.equal(found(path), { state: STATE, sameBoot: false });
});

test('page checksums: all of them, and those that changed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), fc.array(fc.integer({ min: 1, max: 300 })), (pageCount, changes) => {
      const path = fresh();
      const sums = new DatabaseSums(4096);
      for (let page = 1; page <= pageCount; page++) sums.set(page, page * 7, page * 11);
      const file = new SumsFile(path);
      file.writeAll(sums);
      assert.is(file.load(4096, pageCount)?.checksum(), sums.checksum());
      assert.is(file.load(4096, pageCount + 1), undefined);
      const pages = [...new Set(changes)].sort((a, b) => a - b);
      for (const page of pages) sums.set(page, page * 13 + 1, page);
      const grown = sums.pageCount;
      if (grown > pageCount)
        for (let page = pageCount + 1; page <= grown; page++) if (!pages.includes(page)) pages.push(page);
      pages.sort((a, b) => a - b);
      file.write(sums, pages);
      const loaded = file.load(4096, grown)!;
      assert.is(loaded.checksum(), sums.checksum());
      for (let page = 1; page <= grown; page++) assert.is(loaded.getHigh(page), sums.getHigh(page));
      file.close();
    }),
    { numRuns: 50 },
  );
});

test.run();
