import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as p from '../../src/fuse/protocol.js';
import * as w from '../../src/fuse/reply.js';
import * as r from '../../src/fuse/request.js';

/** Byte i is i + 1, so that each field has a value of its own and a field read at a wrong place shows. */
const counting = Buffer.from(Array.from({ length: 160 }, (_, i) => i + 1));
const u32 = (at: number): number => counting.readUInt32LE(at);
const u64 = (at: number): number => Number(counting.readBigUInt64LE(at));

test('request header', () => {
  assert.is(r.headerLength(counting), 0x04030201);
  assert.is(r.headerOpcode(counting), 0x08070605);
  assert.is(r.headerUniqueLow(counting), 0x0c0b0a09);
  assert.is(r.headerUniqueHigh(counting), 0x100f0e0d);
  assert.is(r.headerNodeId(counting), u64(16));
  assert.is(r.headerUid(counting), 0x1c1b1a19);
  assert.is(r.headerGid(counting), 0x201f1e1d);
  assert.is(r.headerPid(counting), 0x24232221);
});

test('request bodies stand where the kernel puts them', () => {
  const fields: [string, number, number][] = [
    ['forget nlookup', r.forgetCount(counting), u64(40)],
    ['batch count', r.batchForgetCount(counting), u32(40)],
    ['batch[1] id', r.batchForgetId(counting, 1), u64(64)],
    ['batch[1] nlookup', r.batchForgetLookups(counting, 1), u64(72)],
    ['setattr valid', r.setattrValid(counting), u32(40)],
    ['setattr size', r.setattrSize(counting), u64(56)],
    ['setattr mode', r.setattrMode(counting), u32(108)],
    ['setattr uid', r.setattrUid(counting), u32(116)],
    ['setattr gid', r.setattrGid(counting), u32(120)],
    ['mknod mode', r.mknodMode(counting), u32(40)],
    ['mkdir mode', r.mkdirMode(counting), u32(40)],
    ['rename newdir', r.renameFolder(counting), u64(40)],
    ['rename2 flags', r.rename2Flags(counting), u32(48)],
    ['open flags', r.openFlags(counting), u32(40)],
    ['create flags', r.createFlags(counting), u32(40)],
    ['create mode', r.createMode(counting), u32(44)],
    ['release fh', r.releaseHandle(counting), u64(40)],
    ['release flags', r.releaseFlags(counting), u32(48)],
    ['flush owner low', r.flushOwnerLow(counting), u32(56)],
    ['flush owner high', r.flushOwnerHigh(counting), u32(60)],
    ['read offset', r.readOffset(counting), u64(48)],
    ['read size', r.readSize(counting), u32(56)],
    ['write offset', r.writeOffset(counting), u64(48)],
    ['write size', r.writeSize(counting), u32(56)],
    ['fsync flags', r.fsyncFlags(counting), u32(48)],
    ['fallocate offset', r.fallocateOffset(counting), u64(48)],
    ['fallocate length', r.fallocateLength(counting), u64(56)],
    ['fallocate mode', r.fallocateMode(counting), u32(64)],
    ['lk owner low', r.lkOwnerLow(counting), u32(48)],
    ['lk owner high', r.lkOwnerHigh(counting), u32(52)],
    ['lk start', r.lkStart(counting), u64(56)],
    ['lk end', r.lkEnd(counting), Number.MAX_SAFE_INTEGER],
    ['lk type', r.lkType(counting), u32(72)],
    ['lk pid', r.lkPid(counting), u32(76)],
    ['lk flags', r.lkFlags(counting), u32(80)],
    ['interrupt low', r.interruptLow(counting), u32(40)],
    ['interrupt high', r.interruptHigh(counting), u32(44)],
    ['init major', r.initMajor(counting), u32(40)],
    ['init minor', r.initMinor(counting), u32(44)],
    ['init readahead', r.initReadahead(counting), u32(48)],
    ['init flags', r.initFlags(counting), u32(52)],
    ['init flags2', r.initFlags2(counting, 104), u32(56)],
    ['init flags2, short request', r.initFlags2(counting, 56), 0],
  ];
  for (const [name, got, wanted] of fields) assert.is(got, wanted, name);
});

test('times keep their fraction and may be before 1970', () => {
  const request = Buffer.alloc(128);
  request.writeBigInt64LE(-5n, 72);
  request.writeUInt32LE(250_000_000, 96);
  request.writeBigInt64LE(1_700_000_001n, 80);
  request.writeUInt32LE(500_000_000, 100);
  assert.is(r.setattrAtime(request), -4.75);
  assert.is(r.setattrMtime(request), 1_700_000_001.5);
});

test('a lock to the end is the largest safe integer both ways', () => {
  const request = Buffer.alloc(88);
  request.writeBigUInt64LE(0x7fff_ffff_ffff_ffffn, 64);
  assert.is(r.lkEnd(request), Number.MAX_SAFE_INTEGER);
  const out = Buffer.alloc(64);
  w.writeLock(out, 5, Number.MAX_SAFE_INTEGER, 1, 77);
  assert.is(out.readBigUInt64LE(24), 0x7fff_ffff_ffff_ffffn);
});

test('names', () => {
  const check = (name: string | Buffer): number => {
    const bytes = Buffer.concat([Buffer.from(name as string), Buffer.from([0])]);
    return r.checkName(bytes, 0, r.nameEnd(bytes, 0, bytes.length));
  };
  assert.is(check('app.db'), 0);
  assert.is(check('ä'), 0);
  assert.is(check('a'.repeat(255)), 0);
  assert.is(check('a'.repeat(256)), 36);
  assert.is(check(''), 22);
  assert.is(check('.'), 22);
  assert.is(check('..'), 22);
  assert.is(check('..a'), 0);
  assert.is(check('a/b'), 22);
  assert.is(check(Buffer.from([0x61, 0xff])), 0, 'any bytes are');
  assert.is(r.nameEnd(Buffer.from('abc'), 0, 3), -1);
});

const attributes: w.Attributes = {
  size: 0x0102030405,
  blocks: 0x1112131415,
  atimeMs: 1000.5,
  mtimeMs: 2000.25,
  ctimeMs: 3000.125,
  mode: 0x21222324,
  nlink: 0x31323334,
  uid: 0x41424344,
  gid: 0x51525354,
  rdev: 0x61626364,
  blksize: 0x71727374,
};

const attrHex = [
  '0000000001000000', // ino: set by the test to 2^32
  '0504030201000000',
  '1514131211000000',
  '0100000000000000',
  '0200000000000000',
  '0300000000000000',
  '20a10700', // 500 us
  '90d00300', // 250 us
  '48e80100', // 125 us
  '24232221',
  '34333231',
  '44434241',
  '54535251',
  '64636261',
  '74737271',
  '00000000',
].join('');

test('entry, attr, open, write, header', () => {
  const out = Buffer.alloc(256, 0xee);
  assert.is(w.writeEntry(out, 7, 0x1_0000_0000, attributes), 128);
  assert.is(
    out.toString('hex', 16, 144),
    `0000000001000000${'00'.repeat(8)}0700000000000000070000000000000000000000${'00000000'}${attrHex}`,
  );
  assert.is(w.writeAttrOut(out, 9, 0x1_0000_0000, attributes, false), 104);
  assert.is(out.toString('hex', 16, 120), `0900000000000000${'00'.repeat(8)}${attrHex}`);
  w.writeAttrOut(out, 9, 0x1_0000_0000, attributes, true);
  assert.is(out.readUInt32LE(16 + 16 + 64), 0, 'an orphan has no links');
  assert.is(w.writeOpen(out, 128, 0x0a0b0c0d, 0x0e0f1011), 144);
  assert.is(out.toString('hex', 144, 160), '0d0c0b0a0000000011100f0e00000000');
  assert.is(w.writeWritten(out, 0x01020304), 8);
  assert.is(out.toString('hex', 16, 24), '0403020100000000');
  w.writeHeader(out, 8, 5, 0x11223344, 0x55667788);
  assert.is(out.toString('hex', 0, 16), '18000000fbffffff4433221188776655');
});

test('negative entry, lock, init, statfs', () => {
  const out = Buffer.alloc(256, 0xee);
  assert.is(w.writeNegativeEntry(out, 3), 128);
  assert.is(out.toString('hex', 16, 144), `${'00'.repeat(16)}0300000000000000${'00'.repeat(104)}`);
  assert.is(w.writeLock(out, 0x0102030405, 0x1112131415, 0x21222324, 0x31323334), 24);
  assert.is(out.toString('hex', 16, 40), '050403020100000015141312110000002423222134333231');
  const init = {
    major: 7,
    minor: 41,
    readaheadBytes: 0x01020304,
    flags: 0x11121314,
    flags2: 0x80,
    maxBackground: 0x2122,
    congestionThreshold: 0x3132,
    maxWriteBytes: 0x41424344,
    timeGranularityNs: 0x51525354,
    maxPages: 0x6162,
    stackDepth: 0x7172,
  };
  assert.is(w.writeInit(out, init), 64);
  assert.is(
    out.toString('hex', 16, 80),
    `070000002900000004030201141312112221${'3231'}4443424154535251${'6261'}0000${'80000000'}${'72710000'}${'00'.repeat(24)}`,
  );
  assert.is(w.writeStatfs(out, { blocks: 1, bfree: 2, bavail: 3, files: 4, ffree: 5, bsize: 6 }, 255), 80);
  assert.is(
    out.toString('hex', 16, 96),
    `${[1, 2, 3, 4, 5].map((n) => `0${n}00000000000000`).join('')}06000000ff00000006000000${'00'.repeat(28)}`,
  );
});

test('directory entries are padded to eight bytes and stop at the limit', () => {
  const out = Buffer.alloc(128, 0xee);
  const end = w.writeDirent(out, 0, 100, 0x0102, 0x0304, 8, Buffer.from('abc'));
  assert.is(end, 32);
  assert.is(out.toString('hex', 16, 48), '0201000000000000040300000000000003000000080000006162630000000000');
  assert.is(w.writeDirent(out, end, 60, 1, 1, 8, Buffer.from('abcdefgh')), -1);
  assert.is(w.writeDirent(out, end, 64, 1, 1, 8, Buffer.from('abcdefgh')), 64);
});

test('every opcode that carries a body asks for it', () => {
  assert.is(p.minBody(p.FUSE_SETATTR), 88);
  assert.is(p.minBody(p.FUSE_WRITE), 40);
  assert.is(p.minBody(p.FUSE_LOOKUP), 0);
  assert.is(p.minBody(4096), 0);
});

test.run();
