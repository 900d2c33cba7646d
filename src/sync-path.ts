import { later } from './disk/index.js';

/** Makes a file's content, or the names in a folder, durable. Throws the system's error. */
export async function syncPath(path: string): Promise<void> {
  const handle = await later.open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
