import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { SluiceError } from '../errors.js';
import { askForHandOver, Waker, Warmer } from '../fuse/index.js';
import type { FuseWorkerData } from './fuse-worker.js';
import type { MountServer } from './mount-server.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

export interface MountWorkerOptions extends Omit<FuseWorkerData, 'port'> {
  readonly mountPath: string;
  readonly onMessage: (message: FromWorker) => void;
}

/** The main thread's hold on the fuse worker. */
export class MountWorker implements MountServer {
  private readonly worker: Worker;
  private readonly port: MessagePort;
  private readonly fuseShared: SharedArrayBuffer;
  readonly waker: Waker;
  readonly warmer: Warmer;
  /** Resolves when the loop ended because the mount is gone, or handed over; rejects if it failed. */
  readonly ended: Promise<void>;

  constructor(options: MountWorkerOptions) {
    const { mountPath, onMessage, ...data } = options;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.fuseShared = options.fuseShared;
    this.port.unref();
    this.worker = new Worker(new URL('./fuse-worker.js', import.meta.url), {
      workerData: { ...data, port: port2 } satisfies FuseWorkerData,
      transferList: [port2],
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 256 },
    });
    this.waker = new Waker(options.deviceFd, mountPath, options.fuseShared);
    this.warmer = new Warmer(mountPath);
    this.ended = new Promise((resolve, reject) => {
      const failed = (text: string) =>
        reject(new SluiceError('MOUNT_FAILED', `the mount ${mountPath} is no longer served: ${text}`));
      this.worker.on('message', (message: FromWorker) => {
        if (message.kind !== 'ended') onMessage(message);
        else if (message.error === undefined) resolve();
        else failed(message.error);
      });
      this.worker.on('error', (error) => failed(error.message));
      this.worker.on('exit', (code) => failed(`its thread ended with code ${code}`));
    });
    this.ended.catch(() => {});
  }

  send(message: ToWorker): void {
    this.port.postMessage(message);
    this.waker.wake();
  }

  /** Without a wake-up: the worker looks when it next wakes. */
  post(message: ToWorker): void {
    this.port.postMessage(message);
  }

  /** Has it end between two requests, the mount staying as it is. Rejects if it has not after `limitMs`. */
  async handOver(limitMs: number): Promise<void> {
    askForHandOver(this.fuseShared);
    this.waker.wake();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new SluiceError('HAND_OVER_LATE', `the thread of the mount did not end within ${limitMs} ms`);
      timer = setTimeout(reject, limitMs, error);
    });
    await Promise.race([this.ended, late]);
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    this.port.close();
    await this.worker.terminate();
  }
}
