import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { DurabilityConfig } from '../config/index.js';
import { isAwaited } from '../durability/rules.js';
import { describeError } from '../errors.js';
import { serveMount } from '../fuse/index.js';
import { CommitState } from './commit-state.js';
import { createWatcher } from './mount-watcher.js';
import { cutOffMessage, Outlived } from './outlived.js';
import { SharedState } from './shared.js';
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
  /** Whether the kernel may read and write WALs by itself, if it can. */
  readonly passthrough: boolean;
  /** On a primary, where commits may have to wait for other machines: which do, and CommitState's memory. */
  readonly commits: { readonly rules: DurabilityConfig; readonly state: SharedArrayBuffer } | undefined;
  /** Whether applications of a replica write. */
  readonly writes: boolean;
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
  const { commits } = data;
  const { watcher, mayLock, ended } = createWatcher({
    ...data,
    shared: new SharedState(data.state),
    commits: commits && {
      state: new CommitState(commits.state),
      isAwaited: (name) => isAwaited(commits.rules, name),
    },
    send,
    receive,
  });
  send({ kind: 'serving' });
  const end = serveMount({
    deviceFd: data.deviceFd,
    backing: data.backing,
    run: data.run,
    locks: data.locks,
    connection: data.connection,
    takeover: data.takeover,
    passthrough: data.passthrough,
    watcher,
    ...(mayLock !== undefined && { mayLock }),
    shared: data.fuseShared,
    log: (message) => send({ kind: 'log', message }),
  });
  // Where the mount goes on, so do the applications' transactions.
  if (end === 'handed over') return;
  if (data.passthrough) cutOff(data, send);
  ended();
}

/** Their last transactions are in what is looked at after this. */
function cutOff({ backing, run }: FuseWorkerData, send: (message: FromWorker) => void): void {
  try {
    for (const name of new Outlived(backing, run).cutOff()) send({ kind: 'log', message: cutOffMessage(name) });
  } catch (error) {
    send({ kind: 'log', message: describeError(error) });
  }
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
