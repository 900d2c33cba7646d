import { readlinkSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { describeError } from '../errors.js';
import { isBusy } from './client.js';

/** To the thread: a database to checkpoint. */
export interface CheckpointRequest {
  readonly id: number;
  readonly path: string;
  readonly mode: 'passive' | 'truncate';
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
    port.postMessage({ id: request.id, failure: checkpoint(request) } satisfies CheckpointReply);
  });
  port.postMessage({ tid: ownThreadId() } satisfies CheckpointReply);
}

/** What went wrong, if it was not just that someone was in the way. */
function checkpoint({ path, mode }: CheckpointRequest): string | undefined {
  try {
    const connection = new Database(path, { fileMustExist: true, timeout: 0 });
    try {
      connection.pragma('wal_autocheckpoint=0');
      connection.pragma('wal_checkpoint(PASSIVE)');
      // The bulk is done without the write lock; this is the short part that needs it.
      if (mode === 'truncate') connection.pragma('wal_checkpoint(TRUNCATE)');
    } finally {
      connection.close();
    }
    return undefined;
  } catch (error) {
    return isBusy(error) ? undefined : describeError(error);
  }
}

/** Each thread has its own id in FUSE requests. /proc/thread-self links to `<pid>/task/<tid>`. */
function ownThreadId(): number {
  return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
}
