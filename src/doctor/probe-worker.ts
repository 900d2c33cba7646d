import { workerData } from 'node:worker_threads';
import { PROCEED, serveMount, type Watcher } from '../fuse/index.js';

export interface ProbeWorkerData {
  readonly deviceFd: number;
  readonly backing: string;
  readonly run: string;
  readonly shared: SharedArrayBuffer;
}

const NOTHING: readonly number[] = [];

/** Nobody follows what happens on this mount. */
const watcher: Watcher = {
  added: () => undefined,
  removed: () => undefined,
  renamed: () => undefined,
  mayOpen: () => PROCEED,
  mayCreate: () => PROCEED,
  mayWrite: () => PROCEED,
  wrote: () => undefined,
  mayResize: () => PROCEED,
  resized: () => undefined,
  mayUnlink: () => PROCEED,
  mayRename: () => PROCEED,
  mayChange: () => PROCEED,
  released: () => undefined,
  alsoSync: () => NOTHING,
  alsoSyncFolder: () => NOTHING,
  virtual: () => undefined,
  hidden: () => false,
  woken: () => undefined,
};

const data = workerData as ProbeWorkerData;
serveMount({ ...data, locks: 'kernel', takeover: false, watcher });
