import * as p from '../../../../src/fuse/protocol.js';
import {
  createBody,
  lockBody,
  nameBody,
  openBody,
  readBody,
  renameBody,
  writeBody,
} from '../../../fuse/support/synthetic-kernel.js';
import type { Random } from '../random.js';

const NAMES = [
  'a.db',
  'f',
  'b.db',
  'a.db-wal',
  'link',
  'out',
  'new',
  '.sluice-wake',
  '.primary',
  '..',
  '.',
  '',
  'x/y',
  'ä🙂',
  'n'.repeat(255),
  'n'.repeat(256),
];
const NUMBERS = [
  0n,
  1n,
  7n,
  512n,
  4096n,
  1n << 20n,
  0x4000_0000n,
  (1n << 32n) - 1n,
  1n << 40n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];
const OPCODES = [...p.OPCODE_NAMES.keys()];

/** Names and numbers that mean something here. */
export function requestWords(): Buffer[] {
  return [
    ...NAMES.map((name) => Buffer.from(`${name}\0`)),
    ...NUMBERS.map(u64),
    ...OPCODES.map((opcode) => u64(BigInt(opcode)).subarray(0, 4)),
  ];
}

/** A request as the kernel might send it, or with some field that it would not. */
export function randomRequest(random: Random): Buffer {
  const opcode = random.chance(0.02) ? random.bits(8) : random.pick(OPCODES);
  const body = bodyOf(opcode, random);
  const header = Buffer.alloc(40);
  header.writeUInt32LE(random.chance(0.02) ? random.bits(16) : 40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeUInt32LE(random.chance(0.1) ? 0x8000_0000 : 0, 12);
  header.writeBigUInt64LE(
    random.chance(0.03) ? random.pick(NUMBERS) : BigInt(random.chance(0.4) ? 1 : random.small(12)),
    16,
  );
  header.writeUInt32LE(random.pick([0, 0, 1000, 0xffff_ffff]), 24);
  header.writeUInt32LE(random.pick([0, 0, 1000, 0xffff_ffff]), 28);
  header.writeUInt32LE(4711, 32);
  return Buffer.concat([header, body]);
}

function bodyOf(opcode: number, random: Random): Buffer {
  const name = (): string => random.pick(NAMES.slice(0, random.chance(0.8) ? 8 : NAMES.length));
  const number = (): bigint => (random.chance(0.3) ? random.pick(NUMBERS) : BigInt(random.below(5000)));
  switch (opcode) {
    case p.FUSE_LOOKUP:
    case p.FUSE_UNLINK:
    case p.FUSE_RMDIR:
      return nameBody(name());
    case p.FUSE_CREATE:
      return createBody(
        name(),
        random.pick([0o102, 0o302, 0, 0o1002, random.bits(32)]),
        random.pick([0o100644, 0o104755, random.bits(32)]),
      );
    case p.FUSE_MKDIR:
      return Buffer.concat([u64(BigInt(random.pick([0o755, 0, 0o2777, random.bits(16)]))), nameBody(name())]);
    case p.FUSE_MKNOD:
      return Buffer.concat([u64(BigInt(random.pick([0o100644, 0o010644, 0o644]))), u64(0n), nameBody(name())]);
    case p.FUSE_RENAME:
      return Buffer.concat([u64(BigInt(1 + random.small(8))), nameBody(name(), name())]);
    case p.FUSE_RENAME2:
      return renameBody(1 + random.small(8), name(), name(), random.pick([0, 1, 2, 4]));
    case p.FUSE_OPEN:
      return openBody(random.pick([0, 1, 2, 0o1002, 0o1000, random.bits(32)]));
    case p.FUSE_READ:
    case p.FUSE_READDIR: {
      const body = readBody(0, random.pick([0, 24, 100, 4096, 1 << 20, 0xffff_ffff]));
      body.writeBigUInt64LE(number(), 8);
      return body;
    }
    case p.FUSE_WRITE: {
      const body = writeBody(0, random.bytes(random.small(300)));
      body.writeBigUInt64LE(number(), 8);
      if (random.chance(0.1)) body.writeUInt32LE(random.bits(32), 16);
      return body;
    }
    case p.FUSE_SETATTR: {
      const body = Buffer.alloc(88);
      body.writeUInt32LE(random.pick([8, 1, 6, 0x30, 0x1b0, random.bits(11)]), 0);
      for (const at of [16, 32, 40]) body.writeBigUInt64LE(number(), at);
      for (const at of [56, 60, 68, 76, 80]) body.writeUInt32LE(random.pick([0, 0o644, 1000, random.bits(32)]), at);
      return body;
    }
    case p.FUSE_GETLK:
    case p.FUSE_SETLK:
    case p.FUSE_SETLKW: {
      const start = random.chance(0.8) ? BigInt(random.below(6)) : random.pick(NUMBERS);
      const end = random.chance(0.8) ? start + BigInt(random.below(3)) : random.pick(NUMBERS);
      return lockBody(
        BigInt(random.below(4)),
        random.pick([0, 1, 1, 2, 3]),
        start,
        BigInt.asUintN(64, end),
        5,
        random.small(4),
      );
    }
    case p.FUSE_RELEASE:
    case p.FUSE_FLUSH:
      return Buffer.concat([
        u64(random.chance(0.8) ? 1n : number()),
        u64(BigInt(random.below(4))),
        u64(BigInt(random.below(4))),
      ]);
    case p.FUSE_FORGET:
      return u64(random.chance(0.8) ? BigInt(random.below(4)) : number());
    case p.FUSE_BATCH_FORGET: {
      const count = random.below(4);
      const items = Array.from({ length: count }, () =>
        Buffer.concat([u64(BigInt(random.small(10))), u64(BigInt(random.below(3)))]),
      );
      return Buffer.concat([u64(random.chance(0.8) ? BigInt(count) : number()), ...items]);
    }
    case p.FUSE_INTERRUPT:
      return u64(BigInt(random.below(200)));
    case p.FUSE_FALLOCATE:
      return Buffer.concat([u64(1n), u64(number()), u64(number()), u64(random.pick([0n, 0n, 1n, 3n, 16n]))]);
    case p.FUSE_INIT:
      return random.bytes(16 + random.below(60));
    default:
      return random.chance(0.5) ? Buffer.alloc(random.pick([0, 8, 16, 24, 40, 64])) : random.bytes(random.small(100));
  }
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}
