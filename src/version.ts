import { readFileSync } from 'node:fs';

/** The version in package.json, which is one folder above the compiled `src` folder's own parent. */
export const VERSION: string = readVersion();

function readVersion(): string {
  for (const path of ['../../package.json', '../package.json']) {
    try {
      const parsed: unknown = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (typeof parsed === 'object' && parsed !== null && 'version' in parsed) return String(parsed.version);
    } catch {
      // not there: the next place
    }
  }
  return 'unknown';
}
