import { parentPort, workerData } from 'node:worker_threads';
import { serveMount } from '../../../src/fuse/index.js';
import { TestWatcher } from './test-watcher.js';

/** One mount of the test server. */
export interface ServerMount {
  readonly path: string;
  readonly backing: string;
  readonly run: string;
  /** Default: raw. libfuse serves on the server's main thread. */
  readonly driver?: 'raw' | 'libfuse';
  readonly locks: 'kernel' | 'sluice';
  readonly takeover: boolean;
  readonly wakeups: 'auto' | 'always' | 'off';
  readonly slowSync?: { readonly suffix: string; readonly delayMs: number };
  readonly maxOpenFiles?: number;
  readonly maxDeferred?: number;
}

export interface ServerWorkerData {
  readonly mount: ServerMount;
  readonly deviceFd: number;
  readonly shared: SharedArrayBuffer;
  /** Word 0: how many writes to `deferred*` files may go on. */
  readonly control: SharedArrayBuffer;
}

const { mount, deviceFd, shared, control } = workerData as ServerWorkerData;

serveMount({
  ...mount,
  deviceFd,
  shared,
  watcher: new TestWatcher(new Int32Array(control)),
  log: (message) => parentPort?.postMessage(message),
});
