import { openSync } from '../disk/index.js';

/** A descriptor to read a file by, which the caller closes; undefined if the file is gone or may not be opened. */
export function openToRead(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}
