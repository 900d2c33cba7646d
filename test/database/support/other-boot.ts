import { readFileSync, writeFileSync } from 'node:fs';
import { Crc64 } from '../../../src/ltx/index.js';

const RECORD_SIZE = 256;
const BOOT_ID = 56;

/** Makes a state file one that was written before the machine's last boot. */
export function makeOtherBoot(path: string): void {
  const bytes = readFileSync(path);
  for (let at = 0; at + RECORD_SIZE <= bytes.length; at += RECORD_SIZE) {
    const record = bytes.subarray(at, at + RECORD_SIZE);
    if (record.readUInt32BE(0) === 0) continue;
    record[BOOT_ID]! ^= 1;
    const crc = new Crc64();
    crc.update(record, 0, RECORD_SIZE - 8);
    record.writeUInt32BE(crc.high >>> 0, RECORD_SIZE - 8);
    record.writeUInt32BE(crc.low >>> 0, RECORD_SIZE - 4);
  }
  writeFileSync(path, bytes);
}
