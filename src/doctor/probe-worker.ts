import { workerData } from 'node:worker_threads';
import { serveMount, UNWATCHED } from '../fuse/index.js';

export interface ProbeWorkerData {
  readonly deviceFd: number;
  readonly backing: string;
  readonly run: string;
  readonly shared: SharedArrayBuffer;
}

const data = workerData as ProbeWorkerData;
serveMount({ ...data, locks: 'kernel', takeover: false, watcher: UNWATCHED });
