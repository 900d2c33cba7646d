import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { canMount, client, VARIANTS, withMount } from './support/mounted.js';

const PROCESSES = 3;
const ROWS = 40;

/** Several processes write one database; nothing may be lost. */
async function writeTogether(path: string, mode: string, synchronous: string): Promise<string> {
  // One first, so that the mode is set while nobody else has the database open.
  await client('insert-client', [path, mode, synchronous, '1']);
  const args = [path, mode, synchronous, String(ROWS)];
  await Promise.all(Array.from({ length: PROCESSES }, () => client('insert-client', args)));
  return client('check-client', [path]);
}

/** Node.js has no fcntl. */
function havePython(): boolean {
  if (spawnSync('python3', ['--version'], { timeout: 10_000 }).status === 0) return true;
  if (process.env.CI === 'true') throw new Error('python3 is missing');
  console.log('SKIP locks of open file descriptions: there is no python3');
  return false;
}

const WANTED = `${PROCESSES * ROWS + 1} ${PROCESSES * ROWS} ok\n`;

if (canMount) {
  for (const [driver, locks] of VARIANTS) {
    test(`SQLite in all journal modes, several processes (driver: ${driver}, locks: ${locks})`, () =>
      withMount({ driver, locks, wakeups: 'auto' }, async ({ path, backing }, server) => {
        mkdirSync(`${backing}/sub`);
        for (const mode of ['wal', 'delete', 'truncate', 'persist']) {
          assert.is(await writeTogether(`${path}/sub/${mode}.db`, mode, 'full'), WANTED, mode);
          assert.is(await client('check-client', [`${backing}/sub/${mode}.db`]), WANTED, `${mode}, the backing file`);
        }
        const { requests } = await server.status();
        assert.is((requests.SETLK ?? 0) > 0, locks === 'sluice');
      }));
  }

  for (const [driver, locks] of havePython() ? VARIANTS : []) {
    test(`a lock of an open file description ends with it (driver: ${driver}, locks: ${locks})`, () =>
      withMount({ driver, locks }, async ({ path, plain }) => {
        const program = fileURLToPath(new URL('../../../test/fuse/support/ofd-client.py', import.meta.url));
        const run = (folder: string): string =>
          execFileSync('python3', [program, `${folder}/x`], { encoding: 'utf8', timeout: 20_000, cwd: '/' });
        assert.is(run(path), run(plain));
        assert.is(run(plain), 'locked refused\nrefused\nlocked\n');
      }));
  }

  for (const [driver, locks] of VARIANTS) {
    test(`WAL with exclusive locking and with mapped reads (driver: ${driver}, locks: ${locks})`, () =>
      withMount({ driver, locks }, async ({ path }) => {
        assert.is(await client('pragma-client', [path]), 'exclusive 200 ok\nmapped 200 ok\nvacuum 4096 ok\n');
      }));
  }
}

test.run();
