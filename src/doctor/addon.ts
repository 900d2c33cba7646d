import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Finding, fail, ok } from './finding.js';

/** In the addon's binary if it was compiled with Node.js 24's headers as they are: see scripts/object-wrap.h. */
const HOOK = 'RemoveEnvironmentCleanupHook';

/** Whether better-sqlite3 works here, and will go on to. */
export async function checkAddon(): Promise<Finding[]> {
  try {
    const { default: Sqlite } = await import('better-sqlite3');
    const db = new Sqlite(':memory:');
    const version = String(db.prepare('SELECT sqlite_version()').pluck().get());
    db.close();
    return [judgeAddon(version, readBinary())];
  } catch {
    return [
      fail(
        'sqlite',
        'better-sqlite3 does not load on this Node.js',
        'Build it: npm start, or npm rebuild better-sqlite3',
      ),
    ];
  }
}

/** `binary` is empty where it is not found. */
export function judgeAddon(version: string, binary: Buffer): Finding {
  if (!binary.includes(HOOK)) return ok('sqlite', `SQLite ${version}`);
  return fail(
    'sqlite',
    'better-sqlite3 was built so that Node.js 24 and newer end the process at a garbage collection',
    'Build it by npm start in the tree, which leaves that out, or use Node.js 20 or 22',
  );
}

function readBinary(): Buffer {
  const lib = createRequire(import.meta.url).resolve('better-sqlite3');
  const path = join(dirname(dirname(lib)), 'build/Release/better_sqlite3.node');
  return existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
}
