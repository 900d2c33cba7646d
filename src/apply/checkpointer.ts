import { Worker } from 'node:worker_threads';
import { SluiceError } from '../errors.js';
import type { CheckpointMode } from './checkpoint.js';
import type { CheckpointReply, CheckpointRequest } from './checkpoint-thread.js';

/** The applier's hold on its checkpoint thread. If the thread ends, so does the process: the node starts it again. */
export class Checkpointer {
  private readonly worker: Worker;
  private readonly pending = new Map<number, (failure: string | undefined) => void>();
  private lastId = 0;

  private constructor(script: URL, started: (tid: number) => void, died: (error: Error) => void) {
    this.worker = new Worker(script);
    this.worker.on('message', (reply: CheckpointReply) => {
      if ('tid' in reply) return started(reply.tid);
      this.pending.get(reply.id)?.(reply.failure);
      this.pending.delete(reply.id);
    });
    this.worker.on('error', died);
  }

  /** Starts the thread; `threadId` is the kernel's. It touches no file before the first checkpoint. */
  static start(died: (error: Error) => void): Promise<{ checkpointer: Checkpointer; threadId: number }> {
    return new Promise((resolve) => {
      const script = new URL('./checkpoint-thread.js', import.meta.url);
      const checkpointer = new Checkpointer(script, (threadId) => resolve({ checkpointer, threadId }), died);
    });
  }

  /** Checkpoints as far as readers let it. Rejects with `APPLY_FAILED` for anything but a lock in the way. */
  async run(path: string, mode: CheckpointMode): Promise<void> {
    const request: CheckpointRequest = { id: ++this.lastId, path, mode };
    const failure = await new Promise<string | undefined>((resolve) => {
      this.pending.set(request.id, resolve);
      this.worker.postMessage(request);
    });
    if (failure !== undefined) throw new SluiceError('APPLY_FAILED', `checkpoint of ${path}: ${failure}`);
  }

  /** Ends the thread once what it does now is done. */
  async stop(): Promise<void> {
    await this.worker.terminate();
  }
}
