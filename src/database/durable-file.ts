import { dirname } from 'node:path';
import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from '../disk/index.js';

/** Writes a small file so that after a crash it is there with all of its content, or as it was before. */
export function writeDurably(path: string, content: string): void {
  const temporary = `${path}.new`;
  const fd = openSync(temporary, 'w');
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Makes the names in a folder durable. */
export const syncFolder = (path: string): void => syncFile(path);

/** Makes a file's content durable. */
export function syncFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
