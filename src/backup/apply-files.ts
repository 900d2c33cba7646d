import type { DatabaseImage } from './database-image.js';
import { DecodeThread } from './decode-thread.js';
import type { OpenedFile } from './read-ahead.js';
import type { StoreFile } from './store.js';

/** Less than this is inflated on this thread: starting another one takes some 50 ms. */
const THREAD_BYTES = 16 * 1024 * 1024;

export interface ApplyHooks {
  /** Sees each piece before it is decoded; what it throws ends the work. */
  read(piece: Uint8Array): void;
  /** Makes the error to throw of what went wrong with a file, or with how it fits the one before it. */
  failed(error: unknown, file: StoreFile, previous: StoreFile | undefined): unknown;
}

/**
 * Applies files to an image, in order. `opened` gives the same files as `files`. Where the bytes of one cannot be read, those
 * before it are applied all the same.
 */
export async function applyFiles(
  opened: AsyncIterable<OpenedFile>,
  files: readonly StoreFile[],
  image: DatabaseImage,
  hooks: ApplyHooks,
): Promise<void> {
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  if (totalBytes < THREAD_BYTES) await applyHere(opened, image, hooks);
  else await applyByThread(opened, files, image, hooks);
}

async function applyHere(opened: AsyncIterable<OpenedFile>, image: DatabaseImage, hooks: ApplyHooks): Promise<void> {
  let previous: StoreFile | undefined;
  for await (const { file, pieces } of opened) {
    try {
      const writer = image.next(file);
      for await (const piece of pieces) {
        hooks.read(piece);
        writer.push(piece);
      }
      await writer.end();
    } catch (error) {
      throw hooks.failed(error, file, previous);
    }
    previous = file;
  }
}

/** Pages are inflated on another thread while this one reads what comes next, and writes. */
async function applyByThread(
  opened: AsyncIterable<OpenedFile>,
  files: readonly StoreFile[],
  image: DatabaseImage,
  hooks: ApplyHooks,
): Promise<void> {
  const thread = new DecodeThread();
  const failures: unknown[] = [];
  /** Files of which all was pushed, or taken. */
  let pushed = 0;
  let taken = 0;
  const pushAll = async (): Promise<void> => {
    for await (const { file, pieces } of opened) {
      try {
        for await (const piece of pieces) {
          if (failures.length > 0) return;
          hooks.read(piece);
          await thread.push(piece);
        }
      } catch (error) {
        // An encrypted file's damage is found where it is read.
        throw hooks.failed(error, file, files[pushed - 1]);
      }
      thread.pushEnd();
      pushed++;
    }
  };
  const takeAll = async (): Promise<void> => {
    for (const file of files) {
      if (failures.length > 0 && taken === pushed) return;
      try {
        const end = await thread.take({
          header: (header) => image.begin(file, header),
          page: (pgno, page, crc) => image.writePage(pgno, page, crc),
        });
        await image.endFile(end);
      } catch (error) {
        throw hooks.failed(error, file, files[taken - 1]);
      }
      taken++;
    }
  };
  const fail = async (error: unknown): Promise<void> => {
    failures.push(error);
    await thread.close();
  };
  const failPush = async (error: unknown): Promise<void> => {
    failures.push(error);
    // It waits for what will not come; otherwise it goes on up to there.
    if (taken === pushed) await thread.close();
  };
  await Promise.all([pushAll().catch(failPush), takeAll().catch(fail)]);
  await thread.close();
  // What failed first ended the other one, too.
  if (failures.length > 0) throw failures[0];
}
