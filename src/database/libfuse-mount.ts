import { realpathSync } from 'node:fs';
import { SluiceError } from '../errors.js';
import { LibfuseServer, mayAllowOthers, Warmer } from '../fuse/index.js';
import type { CommitParts } from './commit-gate.js';
import type { MountServer } from './mount-server.js';
import { createWatcher } from './mount-watcher.js';
import type { SharedState } from './shared.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

const MOUNT_NAME = 'sluice';

export interface LibfuseMountOptions {
  /** Nothing is mounted there yet. */
  readonly mountPath: string;
  readonly backing: string;
  readonly run: string;
  /** Folder of the UnloggedMarks. */
  readonly marks: string;
  readonly role: 'primary' | 'replica';
  /** From src/fuse's `createShared`. */
  readonly fuseShared: SharedArrayBuffer;
  readonly shared: SharedState;
  /** On a primary where commits may have to wait for other machines. */
  readonly commits?: CommitParts | undefined;
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  readonly onMessage: (message: FromWorker) => void;
}

/** A mount that libfuse serves, on the main thread: what a fuse worker and main would say to each other stays on it. */
export class LibfuseMount implements MountServer {
  readonly warmer: Warmer;
  readonly ended: Promise<void>;
  private readonly server: LibfuseServer;
  /** To the watcher. */
  private readonly inbox: ToWorker[] = [];

  readonly waker = {
    start: (): void => undefined,
    wake: (): void => this.server.wake(),
    close: (): void => undefined,
  };

  /** Mounts. Throws the SluiceErrors of LibfuseServer. */
  constructor(options: LibfuseMountOptions) {
    const { mountPath, backing, run, role, fuseShared, onMessage } = options;
    // Later, as from another thread: who asks main for something is not to be called by it before it has its answer.
    const send = (message: FromWorker): void => queueMicrotask(() => onMessage(message));
    const { watcher, ended } = createWatcher({ ...options, send, receive: () => this.inbox.shift() });
    this.warmer = new Warmer(mountPath);
    this.server = LibfuseServer.start({
      path: realpathSync(mountPath),
      name: MOUNT_NAME,
      backing,
      run,
      watcher,
      shared: fuseShared,
      allowOther: mayAllowOthers(),
      needsCaller: role === 'replica',
      log: (message) => send({ kind: 'log', message }),
    });
    // What the watcher says at its end is heard before who waits for the end goes on.
    this.ended = this.server.ended.then(ended);
    this.ended.catch(() => undefined);
  }

  send(message: ToWorker): void {
    this.inbox.push(message);
    this.waker.wake();
  }

  post(message: ToWorker): void {
    this.inbox.push(message);
  }

  async handOver(): Promise<void> {
    throw new SluiceError('HAND_OVER', 'a mount by the libfuse driver ends with its process');
  }
}
