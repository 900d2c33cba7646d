import { readlinkSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { describeError } from '../errors.js';
import { type CheckpointMode, checkpoint } from './checkpoint.js';

/** To the thread: a database to checkpoint. */
export interface CheckpointRequest {
  readonly id: number;
  readonly path: string;
  readonly mode: CheckpointMode;
}

/** From the thread: first its kernel thread id, then the end of each request. */
export type CheckpointReply = { readonly tid: number } | { readonly id: number; readonly failure: string | undefined };

/**
 * A thread of the applier's process that checkpoints, since copying a large WAL takes as long as it takes and other
 * databases must go on. SQLite shares one process's locks between its connections, so this one is just another.
 */
const port = parentPort;
if (port !== null) {
  port.on('message', (request: CheckpointRequest) => {
    port.postMessage({ id: request.id, failure: failureOf(request) } satisfies CheckpointReply);
  });
  port.postMessage({ tid: ownThreadId() } satisfies CheckpointReply);
}

/** What went wrong, if it was not just that someone was in the way. */
function failureOf({ path, mode }: CheckpointRequest): string | undefined {
  try {
    checkpoint(path, mode);
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

/** Each thread has its own id in FUSE requests. /proc/thread-self links to `<pid>/task/<tid>`. */
function ownThreadId(): number {
  return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
}
