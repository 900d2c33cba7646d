import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { describeError } from '../errors.js';
import { serveMount, type Watcher } from '../fuse/index.js';
import { CaptureWatcher } from './capture-watcher.js';
import { ReplicaWatcher } from './replica-watcher.js';
import { SharedState } from './shared.js';
import { UnloggedMarks } from './unlogged-marks.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** What the main thread gives the fuse worker. */
export interface FuseWorkerData {
  readonly deviceFd: number;
  readonly backing: string;
  readonly run: string;
  /** Folder of the UnloggedMarks. */
  readonly marks: string;
  readonly locks: 'kernel' | 'sluice';
  readonly connection: number | undefined;
  readonly takeover: boolean;
  readonly role: 'primary' | 'replica';
  /** From src/fuse's `createShared`. */
  readonly fuseShared: SharedArrayBuffer;
  /** SharedState's. */
  readonly state: SharedArrayBuffer;
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  /** Messages to the worker; it looks at them when it is woken. */
  readonly port: MessagePort;
}

function run(data: FuseWorkerData, send: (message: FromWorker) => void): void {
  const receive = (): ToWorker | undefined => receiveMessageOnPort(data.port)?.message as ToWorker | undefined;
  const shared = new SharedState(data.state);
  const { backing, databases } = data;
  const marks = new UnloggedMarks(data.marks);
  const capture =
    data.role === 'primary' ? new CaptureWatcher({ shared, backing, marks, databases, send, receive }) : undefined;
  const watcher: Watcher = capture ?? new ReplicaWatcher({ shared, databases, receive });
  send({ kind: 'serving' });
  const end = serveMount({
    deviceFd: data.deviceFd,
    backing,
    run: data.run,
    locks: data.locks,
    connection: data.connection,
    takeover: data.takeover,
    watcher,
    shared: data.fuseShared,
    log: (message) => send({ kind: 'log', message }),
  });
  // Where the mount goes on, so do the applications' transactions.
  if (end === 'unmounted') capture?.ended();
}

if (parentPort !== null) {
  const port = parentPort;
  const send = (message: FromWorker): void => port.postMessage(message);
  try {
    run(workerData as FuseWorkerData, send);
    send({ kind: 'ended', error: undefined });
  } catch (error) {
    send({ kind: 'ended', error: describeError(error) });
  }
}
