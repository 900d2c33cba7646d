import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type ChecksumHalves,
  Crc64,
  DatabaseSums,
  lockPage,
  PAGE_SUM_SIZE,
  pageChecksum,
  pageChecksumFrom,
  pageCrc,
  SumsChange,
  standardPageChecksumFrom,
} from '../../src/ltx/index.js';
import { makePage } from './support.js';

const FLAG = 0x8000000000000000n;

function xor(pages: ReadonlyMap<number, bigint>): bigint {
  let sum = 0n;
  for (const page of pages.values()) sum ^= page;
  return sum | FLAG;
}

/** 32 bits, as in MurmurHash3. */
function scramble(bits: bigint): bigint {
  const word = (n: bigint) => n & 0xffffffffn;
  let x = bits ^ (bits >> 16n);
  x = word(x * 0x85ebca6bn);
  x ^= x >> 13n;
  x = word(x * 0xc2b2ae35n);
  return x ^ (x >> 16n);
}

const joined = ({ high, low }: ChecksumHalves): bigint => (BigInt(high) << 32n) | BigInt(low);

test('a page checksum is the CRC of number and page, mixed, bit 63 set', () => {
  const page = makePage(512, 3);
  const padded = Buffer.concat([Buffer.from('xyz'), page]);
  const crc = new Crc64();
  crc.update(Buffer.from([0, 0, 0, 3]));
  crc.update(page);
  let [high, low] = [BigInt(crc.high), BigInt(crc.low)];
  for (let round = 0; round < 2; round++) {
    low ^= scramble(high);
    high ^= scramble(low);
  }
  const out: ChecksumHalves = { high: 0, low: 0 };
  pageChecksum(3, padded, 3, 512, out);
  assert.is(joined(out), (high << 32n) | low | FLAG);
  const known: ChecksumHalves = { high: 0, low: 0 };
  pageCrc(page, 0, 512, known);
  pageChecksumFrom(3, 512, known, out);
  assert.is(joined(out), (high << 32n) | low | FLAG);
  standardPageChecksumFrom(3, 512, known, out);
  assert.is(joined(out), crc.checksum, 'the LTX format has the CRC itself');
});

test('the same change in an even number of pages leads to another checksum', () => {
  const out: ChecksumHalves = { high: 0, low: 0 };
  const of = (pages: readonly Uint8Array[]): bigint => {
    const sums = new DatabaseSums(512);
    for (const [i, page] of pages.entries()) {
      pageChecksum(i + 1, page, 0, 512, out);
      sums.set(i + 1, out.high, out.low);
    }
    return sums.checksum();
  };
  const change = fc.record({
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }).filter((bytes) => bytes.some((byte) => byte !== 0)),
    at: fc.nat(504),
    pairs: fc.integer({ min: 1, max: 20 }),
    alike: fc.boolean(),
  });
  fc.assert(
    fc.property(change, ({ bytes, at, pairs, alike }) => {
      const before = Array.from({ length: 2 * pairs }, (_, i) => (alike ? new Uint8Array(512) : makePage(512, i + 1)));
      const after = before.map((page) => {
        const copy = Uint8Array.from(page);
        for (const [i, byte] of bytes.entries()) copy[at + i]! ^= byte;
        return copy;
      });
      assert.is.not(of(before), of(after));
    }),
    { numRuns: 2000 },
  );
});

test('no page: only bit 63', () => {
  assert.is(new DatabaseSums(4096).checksum(), FLAG);
  assert.is(new DatabaseSums(4096).pageCount, 0);
});

test('set, grow, truncate, copy: always the XOR of what is there', () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ set: fc.integer({ min: 1, max: 300 }), value: fc.bigInt({ min: 0n, max: FLAG - 1n }) }),
    },
    { weight: 1, arbitrary: fc.record({ truncate: fc.nat(320) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const sums = new DatabaseSums(512);
      const model = new Map<number, bigint>();
      let count = 0;
      for (const one of steps) {
        if ('set' in one) {
          const sum = one.value | FLAG;
          sums.set(one.set, Number(sum >> 32n), Number(sum & 0xffffffffn));
          model.set(one.set, sum);
          count = Math.max(count, one.set);
        } else {
          sums.truncate(one.truncate);
          for (const pgno of [...model.keys()]) if (pgno > one.truncate) model.delete(pgno);
          count = Math.min(count, one.truncate);
        }
        assert.is(sums.checksum(), xor(model));
        assert.is(sums.pageCount, count);
      }
      const copy = sums.copy();
      sums.set(301, 1, 2);
      assert.is(copy.checksum(), xor(model));
      assert.is(copy.pageCount, count);
      for (const [pgno, sum] of model) assert.is((BigInt(copy.getHigh(pgno)) << 32n) | BigInt(copy.getLow(pgno)), sum);
      copy.set(302, 3, 4);
      assert.is(copy.getHigh(302), 3);
      assert.is(copy.getHigh(303), 0);
    }),
  );
});

test('written and read by ranges', () => {
  const sums = new DatabaseSums(4096);
  for (let pgno = 1; pgno <= 10; pgno++) sums.set(pgno, 0x80000000 + pgno, 0xf0000000 + pgno);
  const bytes = new Uint8Array(3 + 10 * PAGE_SUM_SIZE);
  sums.write(1, 4, bytes, 3);
  sums.write(5, 6, bytes, 3 + 4 * PAGE_SUM_SIZE);
  assert.equal([...bytes.subarray(3, 11)], [0x80, 0, 0, 1, 0xf0, 0, 0, 1]);
  const other = new DatabaseSums(4096);
  other.read(5, 6, bytes, 3 + 4 * PAGE_SUM_SIZE);
  other.read(1, 4, bytes, 3);
  assert.is(other.checksum(), sums.checksum());
  assert.is(other.getLow(10), 0xf000000a);
  assert.throws(() => sums.write(8, 4, bytes), /no checksums/);
});

test('the lock page counts as a page, not in the checksum', () => {
  const pageSize = 65536; // its lock page has the lowest number
  const lock = lockPage(pageSize);
  assert.is(lock, 16385);
  assert.is(lockPage(4096), 262145);
  const sums = new DatabaseSums(pageSize);
  sums.set(lock - 1, 1, 1);
  const before = sums.checksum();
  sums.set(lock, 5, 5);
  assert.is(sums.checksum(), before);
  assert.is(sums.pageCount, lock);
  const bytes = new Uint8Array(2 * PAGE_SUM_SIZE);
  sums.write(lock - 1, 2, bytes);
  assert.equal([...bytes.subarray(8)], [0, 0, 0, 0, 0, 0, 0, 0]);
});

test('what a transaction makes of the checksum is known while the table stays as it is', () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  const page = fc.tuple(word, word);
  const change = fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 40 }), word, word), { selector: ([pgno]) => pgno });
  fc.assert(
    fc.property(
      fc.array(page, { maxLength: 30 }),
      change,
      fc.integer({ min: 1, max: 40 }),
      (pages, changed, commit) => {
        const sums = new DatabaseSums(4096);
        pages.forEach(([high, low], i) => {
          sums.set(i + 1, high, low);
        });
        const before = sums.checksum();
        const kept = changed.filter(([pgno]) => pgno <= commit);
        const future = new SumsChange(sums);
        const moved = kept.map(([pgno, high, low]) => future.set(pgno, high, low));
        const checksum = future.checksum(commit);
        assert.is(sums.checksum(), before);
        kept.forEach(([pgno, high, low], i) => {
          const same = pgno <= pages.length && sums.getHigh(pgno) === high && sums.getLow(pgno) === low;
          assert.is(moved[i], !same);
        });
        for (const [pgno, high, low] of kept) sums.set(pgno, high, low);
        sums.truncate(commit);
        assert.is(checksum, sums.checksum());
      },
    ),
  );
});

test.run();
