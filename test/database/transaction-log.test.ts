import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LogSegment, RECORD_HEADER_SIZE } from '../../src/database/log-segment.js';
import { SegmentedLog } from '../../src/database/transaction-log.js';
import { encodeLtx } from '../../src/ltx/index.js';

const test = suite('the log');
let folder: string;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-log-'));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const SIGN = 1n << 63n;
const SEGMENT_SIZE = 16 * 1024 * 1024;

const checksum = (txid: number): bigint => (txid === 1 ? 0n : SIGN | BigInt(txid));

function ltx(txid: number, fill = txid): Uint8Array {
  const data = Buffer.alloc(512, fill);
  for (let i = 0; i < 512; i += 4) data.writeUInt32BE((fill * 2654435761 + i * 40503) >>> 0, i);
  // The first is a snapshot, whose checksum would have to be right.
  const checksums = { preApply: txid <= 2 ? 0n : checksum(txid - 1), postApply: checksum(txid) };
  return encodeLtx({ pageSize: 512, commit: 1, minTxid: txid, maxTxid: txid, timestampMs: txid, ...checksums }, [
    { pgno: 1, data },
  ]);
}

function filled(count: number): SegmentedLog {
  const log = new SegmentedLog(folder, 'none');
  for (let txid = 1; txid <= count; txid++) log.append(txid, [ltx(txid)]);
  return log;
}

const onlyFile = (): string => join(folder, readdirSync(folder)[0]!);

const code = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

test('gives back what it was given, also after it is opened again', () => {
  const log = filled(5);
  log.close();
  const again = new SegmentedLog(folder, 'last');
  assert.is(again.first, 1);
  assert.is(again.last, 5);
  assert.is(again.bytes, statSync(onlyFile()).size);
  for (let txid = 1; txid <= 5; txid++) {
    assert.equal(Buffer.from(again.get(txid)!.bytes()), Buffer.from(ltx(txid)));
    assert.equal(again.get(txid)!.after, { txid, checksum: checksum(txid) });
    assert.is(again.location(txid)?.size, ltx(txid).length);
  }
  assert.is(again.get(0), undefined);
  assert.is(again.get(6), undefined);
  assert.is(
    code(() => again.append(8, [ltx(8)])),
    'LOG_GAP',
  );
  again.append(6, [ltx(6)]);
  again.close();
});

test('cuts a torn tail off, wherever it is torn, and goes on from there', () => {
  filled(3).close();
  const whole = readFileSync(onlyFile());
  const two = whole.length - ltx(3).length - RECORD_HEADER_SIZE;
  for (const size of [two + 1, two + RECORD_HEADER_SIZE - 1, two + RECORD_HEADER_SIZE, whole.length - 1]) {
    writeFileSync(onlyFile(), whole.subarray(0, size));
    const log = new SegmentedLog(folder, 'last');
    assert.is(log.last, 2, `cut at ${size}`);
    assert.is(statSync(onlyFile()).size, two);
    log.append(3, [ltx(3)]);
    log.close();
    assert.equal(readFileSync(onlyFile()), whole);
  }
});

test('what was not written before a crash of the machine is found: the last record, or one in the middle', () => {
  filled(4).close();
  const whole = readFileSync(onlyFile());
  const sizes = [1, 2, 3, 4].map((txid) => RECORD_HEADER_SIZE + ltx(txid).length);
  const zeroed = (index: number): Buffer => {
    const bytes = Buffer.from(whole);
    const start = sizes.slice(0, index).reduce((sum, size) => sum + size, 0);
    bytes.fill(0, start + RECORD_HEADER_SIZE + 200, start + sizes[index]!);
    return bytes;
  };
  const open = (bytes: Buffer, verify: 'none' | 'last' | 'all'): number => {
    writeFileSync(onlyFile(), bytes);
    const log = new SegmentedLog(folder, verify);
    const { last } = log;
    log.close();
    return last;
  };
  assert.is(open(zeroed(3), 'last'), 3);
  assert.is(open(zeroed(3), 'none'), 4);
  assert.is(open(zeroed(1), 'all'), 1);
  assert.is(open(zeroed(1), 'last'), 4);
});

test('after a gap between segments the newest run counts', () => {
  const log = filled(2);
  log.close();
  for (const first of [4, 5]) {
    const segment = LogSegment.create(join(folder, `${first.toString(16).padStart(16, '0')}.log`), first);
    segment.append([ltx(first)]);
    segment.release();
  }
  const again = new SegmentedLog(folder, 'all');
  assert.equal([again.first, again.last], [4, 5]);
  assert.is(readdirSync(folder).length, 2);
  again.close();
});

test('bytes behind the last record that are no record are ignored', () => {
  filled(2).close();
  appendFileSync(onlyFile(), Buffer.from('SLG1 and more, which is not a header'));
  const log = new SegmentedLog(folder, 'none');
  assert.is(log.last, 2);
  log.close();
});

test('a large transaction counts only when it is finished', () => {
  const log = filled(1);
  const large = log.appendLarge(2);
  const bytes = ltx(2);
  large.write(bytes.subarray(0, 50));
  assert.is(log.last, 1);
  // Given up: the next one takes its place.
  const second = log.appendLarge(2);
  second.write(bytes.subarray(0, 100));
  second.write(bytes.subarray(100));
  assert.equal(second.finish(), { path: onlyFile(), offset: log.location(2)!.offset, size: bytes.length });
  assert.equal(Buffer.from(log.get(2)!.bytes()), Buffer.from(bytes));
  log.close();
});

test('begins a new segment when one is full, and drops the oldest by age and size, never the current one', () => {
  const log = new SegmentedLog(folder, 'none');
  const filler = Buffer.alloc(SEGMENT_SIZE);
  for (let txid = 1; txid <= 3; txid++) {
    const large = log.appendLarge(txid);
    large.write(filler);
    large.finish();
  }
  assert.is(readdirSync(folder).length, 3);
  const open = log.get(1)!.open();
  log.prune({ ageMs: 1e12, sizeBytes: 2.5 * SEGMENT_SIZE }, Date.now());
  assert.equal([log.first, log.last], [2, 3]);
  // What is being read stays readable; what is not, is not read from a descriptor that is someone else's by now.
  assert.is(open.source.read(Buffer.alloc(10), 0, 10, 0), 10);
  open.close();
  open.close();
  log.prune({ ageMs: 0, sizeBytes: 1e12 }, Date.now() + 1000);
  assert.equal([log.first, log.last], [3, 3]);
  log.prune({ ageMs: 0, sizeBytes: 0 }, Date.now() + 1000);
  assert.equal([log.first, log.last], [3, 3]);
  log.close();
});

test('an entry whose segment is gone says so', () => {
  const log = filled(2);
  const entry = log.get(1)!;
  const kept = log.get(2)!;
  const open = kept.open();
  log.cut(7);
  assert.equal([log.first, log.last], [8, 7]);
  assert.equal(readdirSync(folder), []);
  assert.ok(open.source.read(Buffer.alloc(10), 0, 10, 0) === 10);
  open.close();
  assert.is(
    code(() => entry.bytes()),
    'LOG_PRUNED',
  );
  assert.is(
    code(() => entry.open()),
    'LOG_PRUNED',
  );
  log.append(8, [ltx(8)]);
  assert.is(log.get(8)?.size, ltx(8).length);
  log.close();
});

test('an empty or foreign segment does not count', () => {
  filled(1).close();
  truncateSync(onlyFile(), 3);
  const log = new SegmentedLog(folder, 'last');
  assert.equal([log.first, log.last, log.fd], [1, 0, -1]);
  log.append(1, [ltx(1)]);
  log.close();
});

test.run();
