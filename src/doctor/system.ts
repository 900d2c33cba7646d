import { readFileSync } from 'node:fs';

/** A small file of /proc, /sys or /etc without its last line break; undefined if it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
