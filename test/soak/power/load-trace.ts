import { type ReadRecord, readTrace } from '../../../src/disk/trace.js';
import { Crc64 } from '../../../src/ltx/index.js';

const STATE_BYTES = 256;
const BOOT_ID = 56;
const FILE_TIME = 80;
const WAL_TIME = 96;
const CRC = STATE_BYTES - 8;
/** A time that a file can be given exactly, for each time in the trace: seconds from here. */
const FIRST_SECOND = 1_000_000_000;

export interface LoadOptions {
  readonly firstSecond?: number;
  /** Times of files that are there before the first record: they stay as they are. */
  readonly untouchedMs?: readonly number[];
}
/** Of no consequence after a crash of the machine: what lives as long as the mount, and SQLite's own shared memory. */
const TRANSIENT = /^(nodes|locks|session|pid|keeper|shm|orphan)\./;

/**
 * A trace as the machine's next boot finds it: the states were written under another boot id, and times are whole seconds,
 * in their order.
 */
export function loadTrace(path: string, options: LoadOptions = {}): ReadRecord[] {
  const { firstSecond = FIRST_SECOND, untouchedMs = [] } = options;
  const records = readTrace(path).filter(({ op, label }) => !(op === 'write' && TRANSIENT.test(label)));
  const times = [...new Set(records.flatMap((record) => ('mtimeMs' in record ? [record.mtimeMs] : [])))];
  times.sort((a, b) => a - b);
  const seconds = new Map(times.map((time, i) => [time, (firstSecond + i) * 1000]));
  for (const time of untouchedMs) seconds.set(time, time);
  return records.map((record) => {
    if (record.op !== 'write' && record.op !== 'truncate') return record;
    const mtimeMs = seconds.get(record.mtimeMs)!;
    if (record.label !== 'state.write' || record.op === 'truncate') return { ...record, mtimeMs };
    return { ...record, mtimeMs, content: ofOtherBoot(record.content, seconds) };
  });
}

function ofOtherBoot(content: Buffer, seconds: ReadonlyMap<number, number>): Buffer {
  if (content.length !== STATE_BYTES) throw new Error(`a state record of ${content.length} bytes`);
  const record = Buffer.from(content);
  record[BOOT_ID]! ^= 1;
  for (const at of [FILE_TIME, WAL_TIME]) record.writeDoubleBE(seconds.get(record.readDoubleBE(at)) ?? 0, at);
  const crc = new Crc64();
  crc.update(record, 0, CRC);
  record.writeUInt32BE(crc.high >>> 0, CRC);
  record.writeUInt32BE(crc.low >>> 0, CRC + 4);
  return record;
}
