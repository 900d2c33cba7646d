import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describeError } from '../errors.js';
import { createShared } from '../fuse/index.js';
import { mountKernel, openDevice, prepareMountPoint, unmount } from '../fuse/mount.js';
import type { ProbeWorkerData } from './probe-worker.js';

/**
 * A program: serves an empty mount in a temporary folder until its stdin ends, then removes both. Its first line says
 * where it is, or what is wrong. No thread of it ever looks into the mount.
 */

const ENDED_LIMIT_MS = 2_000;

function say(line: { readonly mount: string } | { readonly problem: string }): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

function serve(folder: string): { readonly mount: string; readonly ended: Promise<void> } {
  const [backing, run] = [join(folder, 'backing'), join(folder, 'run')];
  mkdirSync(backing);
  mkdirSync(run);
  const deviceFd = openDevice();
  const mount = prepareMountPoint(join(folder, 'mnt'));
  mountKernel({ deviceFd, path: mount, name: 'sluice-doctor' });
  const workerData: ProbeWorkerData = { deviceFd, backing, run, shared: createShared('off') };
  const worker = new Worker(new URL('./probe-worker.js', import.meta.url), { workerData });
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
    worker.once('error', () => resolve());
  });
  return { mount, ended };
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'sluice-doctor-'));
  let gone = true;
  try {
    const { mount, ended } = serve(folder);
    const asked = new Promise((resolve) => process.stdin.on('end', resolve).on('error', resolve).resume());
    say({ mount });
    await Promise.race([asked, ended]);
    gone = (await unmount(mount, 0)) !== 'aborted';
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, ENDED_LIMIT_MS))]);
  } catch (error) {
    say({ problem: describeError(error) });
  } finally {
    // Of a mount that would not go, nothing is touched.
    if (gone) rmSync(folder, { recursive: true, force: true });
  }
  // The thread may still wait in a read of the device.
  process.kill(process.pid, 'SIGKILL');
}

await main();
