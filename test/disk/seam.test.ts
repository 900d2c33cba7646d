import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('disk: the seam');
const SRC = fileURLToPath(new URL('../../../src', import.meta.url));
/** What writes the data folder. */
const PLACES = ['fuse', 'database', 'keeper', 'sync-path.ts', 'node.ts'];
/** Functions of node:fs and node:fs/promises that change nothing, and give no descriptor that could. */
const READING = new Set([
  'accessSync',
  'constants',
  'existsSync',
  'fstatSync',
  'lstatSync',
  'readdirSync',
  'readFileSync',
  'readlinkSync',
  'realpathSync',
  'statSync',
  'statfs',
  'statfsSync',
  'closeSync',
  'watch',
]);
/** Of the kernel's device, whatever file does it. */
const DEVICE = new Set(['readSync as readDevice', 'writeSync as writeDevice']);
/** Files that write elsewhere. */
const ELSEWHERE: Record<string, readonly string[]> = {
  'fuse/mount.ts': ['mkdirSync', 'openSync', 'writeFileSync'], // the mount point, /dev/fuse, /sys/fs/fuse
  'fuse/wakeups.ts': ['openSync', 'writeSync'], // /dev/cpu_dma_latency
  'fuse/waker.ts': ['writeSync'], // /dev/fuse
  'keeper/print-holders.ts': ['writeSync'], // standard output
};
/** SQLite in the node's own process, whose calls are not seen: each says what it changed (`bySqlite`), or changes nothing. */
const SQLITE = ['database/hot-journal.ts', 'database/redo.ts', 'keeper/data-lock.ts'];

const sources = (): string[] =>
  PLACES.flatMap((place) =>
    place.endsWith('.ts') ? [place] : readdirSync(join(SRC, place)).map((name) => `${place}/${name}`),
  );

/** What a source takes from a module, in its words. */
function imports(text: string, module: string): string[] {
  const found = [...text.matchAll(/(?:import|export)\s+(?:type\s+)?([^;]*?)\s+from\s+'([^']+)'/g)];
  return found
    .filter(([, , from]) => from === module)
    .flatMap(([, names]) => names!.replace(/[{}\n]/g, ' ').split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '));
}

test('what writes the data folder does it by src/disk alone', () => {
  const wrong: string[] = [];
  for (const file of sources()) {
    const text = readFileSync(join(SRC, file), 'utf8');
    for (const module of ['node:fs', 'node:fs/promises', 'fs', 'fs/promises']) {
      for (const name of imports(text, module)) {
        if (READING.has(name) || DEVICE.has(name) || ELSEWHERE[file]?.includes(name)) continue;
        wrong.push(`${file}: ${name}`);
      }
    }
    if (/import\('(node:)?fs|require\('(node:)?fs/.test(text.replace(/`[^`]*`/g, '')))
      wrong.push(`${file}: fs at run time`);
  }
  assert.equal(wrong, []);
});

test('and SQLite is only run there where it says what it changed', () => {
  const using = sources().filter((file) => readFileSync(join(SRC, file), 'utf8').includes("'better-sqlite3'"));
  assert.equal(using.sort(), SQLITE);
});

test('without the variables the functions are those of node:fs', async () => {
  const fs = await import('node:fs');
  const promises = await import('node:fs/promises');
  const { later, bySqlite, ...disk } = await import('../../src/disk/index.js');
  for (const [name, call] of Object.entries(disk)) assert.is(call, fs[name as keyof typeof fs], name);
  for (const name of Object.keys(later) as (keyof typeof later)[]) assert.is(later[name], promises[name], name);
  let ran = 0;
  bySqlite('/nowhere', () => ran++);
  assert.is(ran, 1);
});

test.run();
