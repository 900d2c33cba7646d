import { WalTracker } from '../../../../src/database/wal-tracker.js';
import { MemoryFile } from '../../../database/support/recorder.js';
import { mustHold, type Target, type TargetOpener } from '../target.js';
import { makeWal } from './samples.js';

/** Most bytes of the file. */
const FILE_MAX = 8 << 20;

/**
 * Writes to a WAL by an application that may write anything: pieces of `wal`, in an order that the input says.
 *
 * ```
 * u16 bytes of the writes, 6 bytes each: u16 from where in the WAL, u16 bytes, u8 shift of where to, u8 what else | the WAL
 * ```
 */
export const walTracker: TargetOpener = {
  open: (): Target => ({
    seeds: [
      program(inOrder(makeWal(512, [1, 2, 3], 3), 24, 512), makeWal(512, [1, 2, 3], 3)),
      program(inOrder(makeWal(1024, [1, 2, 9, 4], 9), 1048, 1048), makeWal(1024, [1, 2, 9, 4], 9)),
      program(inOrder(makeWal(512, [1, 2], 2), 100, 77), makeWal(512, [1, 2], 2)),
    ],
    maxBytes: 16 << 10,
    run: (input) => present(input),
  }),
};

function present(input: Buffer): void {
  if (input.length < 2) return;
  const end = Math.min(input.length, 2 + input.readUInt16LE(0));
  const wal = input.subarray(end);
  const file = new MemoryFile();
  const tracker = new WalTracker(file.read);
  for (let at = 2; at + 6 <= end; at += 6) {
    const from = input.readUInt16LE(at) % (wal.length + 1);
    const data = wal.subarray(from, from + (input.readUInt16LE(at + 2) % 4096));
    const what = input[at + 5]!;
    const position = Math.max(0, from + input.readInt8(at + 4));
    if (what === 1) {
      file.bytes = Buffer.alloc(0);
      tracker.clear();
      continue;
    }
    if (what === 2) tracker.load();
    if (position + data.length > FILE_MAX || data.length === 0) continue;
    if (tracker.overwritesCommitted(position)) tracker.takeBack(tracker.framesBefore(position));
    const before = tracker.committedFrames;
    file.write(position, data);
    const said = tracker.wrote(position, data, 0, data.length);
    const { header, committedFrames } = tracker;
    mustHold(header === undefined || !said || committedFrames !== before || position < 32, 'a commit that is none');
    mustHold(committedFrames === 0 || tracker.committedEnd <= file.bytes.length, 'more frames than the file has');
  }
  compare(tracker, file);
}

/** What was recognised, write by write, is in the file: who reads it from the start finds as much. */
function compare(tracker: WalTracker, file: MemoryFile): void {
  const fresh = new WalTracker(file.read);
  fresh.load();
  if (tracker.header === undefined || fresh.header?.s0 !== tracker.header.s0 || fresh.header.s1 !== tracker.header.s1)
    return;
  mustHold(tracker.committedFrames <= fresh.committedFrames, 'a commit that the file does not have');
}

function program(writes: Buffer, wal: Buffer): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16LE(writes.length);
  return Buffer.concat([head, writes, wal]);
}

/** The WAL's header, then pieces of these sizes in turn. */
function inOrder(wal: Buffer, ...sizes: number[]): Buffer {
  const writes: Buffer[] = [];
  for (let at = 0, i = 0; at < wal.length; i++) {
    const size = i === 0 ? 32 : sizes[(i - 1) % sizes.length]!;
    const write = Buffer.alloc(6);
    write.writeUInt16LE(at, 0);
    write.writeUInt16LE(size, 2);
    writes.push(write);
    at += size;
  }
  return Buffer.concat(writes);
}
