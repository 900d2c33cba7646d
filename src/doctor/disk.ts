import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatSize } from '../config/index.js';
import { errorCode } from '../errors.js';
import { type Finding, fail, ok, warn } from './finding.js';

const SYNCS = 20;
const BLOCK_BYTES = 4096;
const SLOW_SYNC_US = 10_000;
/** Below this the disk only pretends: its data does not outlive a power cut. */
const PRETENDED_SYNC_US = 5;
const LOW_FREE_BYTES = 1 * 2 ** 30;

/** How long the data folder's disk takes to make a write durable, and how much room it has. */
export function checkDisk(data: string): Finding[] {
  const folder = nearestFolder(data);
  try {
    return [checkSync(folder), checkRoom(folder)];
  } catch (error) {
    return [
      fail(
        'disk',
        `${folder} cannot be written to (${errorCode(error) ?? 'unknown error'})`,
        'Check its rights, or choose another data folder',
      ),
    ];
  }
}

/** The folder itself, or the first one above it that exists. */
function nearestFolder(path: string): string {
  let folder = path;
  while (!existsSync(folder)) folder = dirname(folder);
  return folder;
}

function checkSync(folder: string): Finding {
  const us = measureSync(folder);
  const text = `fsync takes ${us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toFixed(1)} ms`} in ${folder}`;
  if (us > SLOW_SYNC_US)
    return warn('disk', text, 'Put the data folder on a faster disk: each synchronous=FULL commit waits for it');
  if (us < PRETENDED_SYNC_US) return warn('disk', text, 'Nothing is made durable so quickly: is this a RAM disk?');
  return ok('disk', text);
}

/** Median, microseconds. */
function measureSync(folder: string): number {
  const temporary = mkdtempSync(join(folder, '.sluice-doctor-'));
  try {
    const fd = openSync(join(temporary, 'sync'), 'w');
    const block = Buffer.alloc(BLOCK_BYTES, 1);
    const timesUs = Array.from({ length: SYNCS }, (_, i) => {
      const start = process.hrtime.bigint();
      writeSync(fd, block, 0, BLOCK_BYTES, i * BLOCK_BYTES);
      fsyncSync(fd);
      return Number(process.hrtime.bigint() - start) / 1000;
    });
    closeSync(fd);
    return timesUs.sort((a, b) => a - b)[SYNCS / 2]!;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function checkRoom(folder: string): Finding {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free >= LOW_FREE_BYTES) return ok('room', `${formatSize(free)} free`);
  return warn('room', `${formatSize(free)} free`, 'Make room: databases, their logs and snapshots need it');
}
