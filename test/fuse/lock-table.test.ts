import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LockFile } from '../../src/fuse/lock-file.js';
import { F_RDLCK, F_UNLCK, F_WRLCK, type HeldLock, type LockRecorder, LockTable } from '../../src/fuse/lock-table.js';

const BYTES = 24;
const OWNERS = 4;
const END = Number.MAX_SAFE_INTEGER;

/** fcntl's rules, byte by byte: for each owner and byte, the type held or F_UNLCK. The last byte stands for all after it. */
class ByteModel {
  readonly held = Array.from({ length: OWNERS }, () => new Array<number>(BYTES).fill(F_UNLCK));

  conflicts(owner: number, type: number, start: number, end: number): boolean {
    for (let other = 0; other < OWNERS; other++) {
      if (other === owner) continue;
      for (let byte = start; byte <= end; byte++) {
        const held = this.held[other]![byte]!;
        if (held === F_WRLCK || (held === F_RDLCK && type === F_WRLCK)) return true;
      }
    }
    return false;
  }

  set(owner: number, type: number, start: number, end: number): boolean {
    if (type !== F_UNLCK && this.conflicts(owner, type, start, end)) return false;
    for (let byte = start; byte <= end; byte++) this.held[owner]![byte] = type;
    return true;
  }
}

/** Owners whose halves are each other's swapped, so that comparing only one half fails. */
const low = (owner: number): number => [1, 2, 1, 2][owner]!;
const high = (owner: number): number => [2, 1, 1, 2][owner]!;

const command = fc.record({
  kind: fc.constantFrom('set', 'set', 'set', 'get', 'drop'),
  owner: fc.nat({ max: OWNERS - 1 }),
  type: fc.constantFrom(F_RDLCK, F_WRLCK, F_UNLCK),
  a: fc.nat({ max: BYTES - 1 }),
  b: fc.nat({ max: BYTES - 1 }),
});

test('agrees with a model that keeps each byte', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const table = new LockTable();
      const model = new ByteModel();
      for (const { kind, owner, type, a, b } of commands) {
        const start = Math.min(a, b);
        const last = Math.max(a, b);
        const end = last === BYTES - 1 ? END : last;
        if (kind === 'drop') {
          const had = model.held[owner]!.some((held) => held !== F_UNLCK);
          model.held[owner]!.fill(F_UNLCK);
          assert.is(table.dropOwner(1, low(owner), high(owner)), had);
        } else if (kind === 'set') {
          const errno = table.set(1, low(owner), high(owner), type, start, end, 100 + owner);
          assert.is(errno, model.set(owner, type, start, last) ? 0 : 11);
        } else if (type !== F_UNLCK) {
          const found = table.conflict(1, low(owner), high(owner), type, start, end);
          assert.is(found !== undefined, model.conflicts(owner, type, start, last));
          if (found !== undefined) assert.ok(found.start <= end && found.end >= start);
        }
        agree(table, model);
      }
    }),
    { numRuns: 500 },
  );
});

/** Same bytes, and each owner's ranges disjoint and merged. */
function agree(table: LockTable, model: ByteModel): void {
  for (let owner = 0; owner < OWNERS; owner++) {
    const bytes = new Array<number>(BYTES).fill(F_UNLCK);
    const mine = table.held(1).filter((l) => l.ownerLow === low(owner) && l.ownerHigh === high(owner));
    for (const lock of mine) {
      assert.is(lock.pid, 100 + owner);
      for (let byte = lock.start; byte <= Math.min(lock.end, BYTES - 1); byte++) {
        assert.is(bytes[byte], F_UNLCK, 'ranges overlap');
        bytes[byte] = lock.type;
      }
    }
    assert.equal(bytes, model.held[owner]);
    for (const one of mine) {
      for (const other of mine) {
        assert.not.ok(one.type === other.type && one.end + 1 === other.start, 'touching ranges are not merged');
      }
    }
  }
}

test('files are apart from each other', () => {
  const table = new LockTable();
  assert.is(table.set(1, 1, 1, F_WRLCK, 0, 9, 5), 0);
  assert.is(table.set(2, 2, 2, F_WRLCK, 0, 9, 6), 0);
  assert.is(table.set(1, 2, 2, F_RDLCK, 9, 9, 6), 11);
  assert.is(table.conflict(1, 2, 2, F_RDLCK, 9, 20)?.pid, 5);
  table.dropFile(1);
  assert.is(table.set(1, 2, 2, F_RDLCK, 9, 9, 6), 0);
});

const folder = mkdtempSync(join(tmpdir(), 'sluice-locks-'));
test.after(() => rmSync(folder, { recursive: true }));

test('the next process reads back exactly what was held', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const path = join(folder, 'locks');
      const table = new LockTable();
      const file = LockFile.create(path);
      table.record(file);
      for (const { kind, owner, type, a, b } of commands) {
        if (kind === 'drop') table.dropOwner(1 + (a & 1), low(owner), high(owner));
        else table.set(1 + (a & 1), low(owner), high(owner), type, Math.min(a, b), b < a ? END : b, 7, owner << 20);
      }
      file.close();
      const { ino } = statSync(path);
      const next = new LockTable();
      const resumed = LockFile.resume(path, next);
      assert.is(statSync(path).ino, ino, 'a full disk has no room for another file');
      for (const id of [1, 2]) assert.equal(sorted(next, id), sorted(table, id));
      // It goes on: what is taken and let go now is there, or not, for the next one too.
      next.set(3, 77, 0, F_RDLCK, 5, 6, 7, 0);
      next.set(4, 77, 0, F_RDLCK, 5, 6, 7, 0);
      next.dropOwner(4, 77, 0);
      resumed.close();
      LockFile.resume(path, new LockTable()).close();
      const again = new LockTable();
      LockFile.resume(path, again).close();
      for (const id of [1, 2]) assert.equal(sorted(again, id), sorted(next, id));
      assert.is(again.held(3).length, 1);
      assert.is(again.held(4).length, 0);
    }),
    { numRuns: 100 },
  );
});

function sorted(table: LockTable, id: number): string[] {
  return table
    .held(id)
    .map((l) => `${l.ownerLow}.${l.ownerHigh} ${l.type} ${l.start}..${l.end} ${l.pid} ${l.handle}`)
    .sort();
}

test('a process that dies between the writes of one change never seems to hold less', () => {
  const writes: string[] = [];
  const table = new LockTable();
  table.record({
    write: (_, lock) => {
      if (lock.slot < 0) lock.slot = writes.length;
      writes.push(`write ${lock.type} ${lock.start}..${lock.end}`);
    },
    clear: () => writes.push('clear'),
  });
  table.set(1, 1, 1, F_RDLCK, 0, 9, 5);
  table.set(1, 1, 1, F_WRLCK, 3, 5, 5);
  assert.equal(writes.slice(1), ['write 1 3..5', 'write 0 0..2', 'write 0 6..9']);
  writes.length = 0;
  table.set(1, 1, 1, F_WRLCK, 0, 9, 5);
  assert.equal(writes, ['write 1 0..9', 'clear', 'clear', 'clear']);
});

/** Records as LockFile does, but every call fails for which it is told to. */
class Forgetful implements LockRecorder {
  readonly slots: (string | undefined)[] = [];
  failing = false;

  write(id: number, lock: HeldLock): void {
    if (lock.slot < 0) lock.slot = this.slots.push(undefined) - 1;
    if (this.failing) throw new Error('full');
    this.slots[lock.slot] = `${id}: ${lock.ownerLow} ${lock.type} ${lock.start}..${lock.end}`;
  }

  clear(slot: number): void {
    if (this.failing) throw new Error('full');
    this.slots[slot] = undefined;
  }

  get all(): string[] {
    return this.slots.filter((slot) => slot !== undefined).sort();
  }
}

test('what cannot be recorded is not granted, and leaves nothing behind', () => {
  const table = new LockTable();
  const recorder = new Forgetful();
  table.record(recorder);
  table.set(1, 1, 0, F_RDLCK, 0, 9, 5);
  table.set(1, 2, 0, F_RDLCK, 5, 5, 6);
  const held = sorted(table, 1);
  recorder.failing = true;
  for (const [owner, type, start, end] of [
    [1, F_RDLCK, 20, 29],
    [1, F_WRLCK, 0, 3],
    [1, F_RDLCK, 8, 12],
    [3, F_RDLCK, 0, 0],
  ] as const) {
    assert.throws(() => table.set(1, owner, 0, type, start, end, 5), /full/);
    assert.equal(sorted(table, 1), held);
  }
  recorder.failing = false;
  assert.is(table.set(2, 7, 0, F_WRLCK, 1, 1, 7), 0);
  assert.equal(sorted(table, 2), ['7.0 1 1..1 7 0']);
  assert.ok(
    recorder.all.every((slot) => !slot.startsWith('2:') || slot === '2: 7 1 1..1'),
    recorder.all.join(', '),
  );
  // What it gave back is recorded with the next change of each.
  assert.is(table.set(1, 1, 0, F_RDLCK, 0, 10, 5), 0);
  assert.ok(recorder.all.includes('1: 1 0 0..10'));
});

test('what is let go is free, though that cannot be recorded', () => {
  const table = new LockTable();
  const recorder = new Forgetful();
  table.record(recorder);
  table.set(1, 1, 0, F_WRLCK, 0, 9, 5);
  recorder.failing = true;
  assert.is(table.set(1, 1, 0, F_UNLCK, 0, 9, 5), 0);
  assert.equal(table.held(1), []);
  recorder.failing = false;
  assert.is(table.set(1, 2, 0, F_WRLCK, 0, 9, 5), 0);
  assert.equal(sorted(table, 1), ['2.0 1 0..9 5 0']);
});

test('slots that no process can have written are left out', () => {
  const path = join(folder, 'damaged');
  const slot = (id: bigint, start: bigint, end: bigint, handle: bigint): Buffer => {
    const bytes = Buffer.alloc(48);
    for (const [at, value] of [
      [0, id],
      [16, start],
      [24, end],
      [40, handle],
    ] as const)
      bytes.writeBigUInt64LE(value, at);
    bytes.writeUInt32LE(F_WRLCK, 32);
    return bytes;
  };
  const most = (1n << 64n) - 1n;
  const slots = [
    slot(5n, 9n, 3n, 1n),
    slot(most, 0n, 1n, 1n),
    slot(5n, 0n, most, 1n),
    slot(5n, 2n, 2n, most),
    slot(5n, 7n, 8n, 1n),
  ];
  writeFileSync(path, Buffer.concat([...slots, Buffer.alloc(20, 1)]));
  const table = new LockTable();
  LockFile.resume(path, table).close();
  assert.equal(sorted(table, 5), ['0.0 1 7..8 0 1']);
});

test.run();
