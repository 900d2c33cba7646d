/**
 * Serves mounts for the tests, in a process of its own: `node server.js JSON`, an array of ServerMount. Mounts that
 * are taken over find their device at descriptor 3 and up. Speaks to its parent by IPC: {ready} | {log} out;
 * {allow}, {primary}, {status}, {stop}, {handOver} in.
 */
import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { MountServer } from '../../../src/database/index.js';
import {
  askForHandOver,
  awakeBursts,
  createShared,
  deferredCount,
  LibfuseServer,
  opcodeCounts,
  Waker,
  WakeupsTimer,
  whenServing,
} from '../../../src/fuse/index.js';
import { mountKernel, openDevice, prepareMountPoint, unmount } from '../../../src/fuse/mount.js';
import type { ServerMount, ServerWorkerData } from './server-worker.js';
import { TestWatcher } from './test-watcher.js';

interface Command {
  readonly mount: number;
  readonly allow?: number;
  readonly primary?: number;
  readonly status?: boolean;
  readonly stop?: boolean;
  /** Ends without an unmount. */
  readonly handOver?: boolean;
}

const mounts = JSON.parse(process.argv[2]!) as (ServerMount & { readonly inherit?: number })[];
const say = (message: unknown): void => {
  process.send?.(message);
};

interface Served {
  readonly mount: ServerMount;
  readonly deviceFd: number | undefined;
  readonly shared: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly waker: MountServer['waker'];
  readonly timer: WakeupsTimer;
  readonly ended: Promise<unknown>;
}

function serveRaw(mount: ServerMount & { readonly inherit?: number }): Served {
  const deviceFd = mount.inherit ?? openDevice();
  if (mount.inherit === undefined) mountKernel({ deviceFd, path: prepareMountPoint(mount.path), name: 'sluice-test' });
  const shared = createShared(mount.wakeups);
  const control = new SharedArrayBuffer(64);
  const data: ServerWorkerData = { mount, deviceFd, shared, control };
  const worker = new Worker(new URL('./server-worker.js', import.meta.url), { workerData: data });
  worker.on('message', (log) => say({ log }));
  worker.on('error', (error) => say({ log: `worker died: ${error.stack}` }));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  const waker = new Waker(deviceFd, mount.path, shared);
  return { mount, deviceFd, shared, words: new Int32Array(control), waker, timer: new WakeupsTimer(shared), ended };
}

/** On this thread. */
function serveLibfuse(mount: ServerMount): Served {
  const shared = createShared(mount.wakeups);
  const words = new Int32Array(new SharedArrayBuffer(64));
  const server = LibfuseServer.start({
    ...mount,
    path: prepareMountPoint(mount.path),
    name: 'sluice-test',
    shared,
    watcher: new TestWatcher(words),
    allowOther: true,
    needsCaller: true,
    log: (log) => say({ log }),
  });
  const waker = { start: () => undefined, wake: () => server.wake(), close: () => undefined };
  return { mount, deviceFd: undefined, shared, words, waker, timer: new WakeupsTimer(shared), ended: server.ended };
}

const served = mounts.map((mount) => (mount.driver === 'libfuse' ? serveLibfuse(mount) : serveRaw(mount)));

process.on('message', (command: Command) => {
  const one = served[command.mount]!;
  if (command.allow !== undefined) {
    Atomics.store(one.words, 0, command.allow);
    one.waker.wake();
  }
  if (command.primary !== undefined) Atomics.store(one.words, 1, command.primary);
  if (command.status) {
    say({
      status: {
        requests: Object.fromEntries(opcodeCounts(one.shared)),
        woken: one.words[2],
        deferred: deferredCount(one.shared),
        bursts: awakeBursts(one.shared),
        openFiles: 0,
      },
    });
  }
  if (command.stop) void stop();
  if (command.handOver) void handOver(one);
});
process.on('disconnect', () => void stop());

async function handOver({ shared, waker, ended }: (typeof served)[number]): Promise<void> {
  askForHandOver(shared);
  waker.wake();
  await ended;
  process.exit(0);
}

async function stop(): Promise<void> {
  for (const { mount, waker, timer, ended, deviceFd } of served) {
    waker.close();
    timer.close();
    await unmount(mount.path, 1000);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 3000).unref())]);
    if (deviceFd !== undefined) closeSync(deviceFd);
  }
  process.exit(0);
}

for (const one of served) {
  if (!(await whenServing(one.shared, 5000))) say({ log: `${one.mount.path} is not served` });
  one.waker.start();
  const problem = one.timer.start();
  if (problem !== undefined) say({ log: problem });
}
say({ ready: true });
