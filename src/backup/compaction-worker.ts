import { parentPort, workerData } from 'node:worker_threads';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { compact } from './compaction.js';
import type { CompactionAnswer, CompactionRequest } from './compaction-thread.js';
import { openConfiguredStore, type StoreSettings } from './open-store.js';

/** The thread's own program: merges what it is asked to, one request after the other. */
const root = openConfiguredStore(workerData as StoreSettings);
let tail: Promise<void> = Promise.resolve();

parentPort!.on('message', (request: CompactionRequest) => {
  tail = tail.then(() => answer(request));
});

async function answer({ id, database, files, level }: CompactionRequest): Promise<void> {
  parentPort!.postMessage(await work(id, database, files, level));
}

async function work(
  id: number,
  database: string,
  files: CompactionRequest['files'],
  level: number,
): Promise<CompactionAnswer> {
  try {
    return { id, file: await compact(root.database(database), files, level) };
  } catch (error) {
    const hint = error instanceof SluiceError ? error.hint : '';
    const message = error instanceof Error ? error.message : describeError(error);
    return { id, failure: { code: errorCode(error) ?? 'STORE_FAILED', message, hint } };
  }
}
