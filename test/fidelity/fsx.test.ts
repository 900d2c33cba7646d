// Time limit: 30 min
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { testSeed } from '../database/support/random.js';
import { run } from '../e2e/programs.js';
import { freshFolder, startPrimary, stopAll } from '../support/cluster.js';

/**
 * Random calls on files of the mount of a primary and on the same files elsewhere: all must give the same. Files with any
 * content, and files that look like databases with a journal and a WAL and are none. SLUICE_FSX_CALLS is how many of each.
 */

const CALLS = process.env.SLUICE_FSX_CALLS || '1500';
const LIMIT_MS = 12 * 60_000;
const PROGRAM = fileURLToPath(new URL('../../../test/fidelity/fsx.py', import.meta.url));
const seed = testSeed();

for (const locks of ['kernel', 'sluice'] as const) {
  test(`random calls on files give what they give elsewhere (locks: ${locks}, seed ${seed})`, async () => {
    const primary = await startPrimary({ mount: { path: './mnt', locks } });
    try {
      await Promise.all(
        ['plain', 'database'].map(async (kind) => {
          const folder = primary.path(kind);
          await run('mkdir', [folder]);
          const shadow = freshFolder('shadow');
          console.log(
            await run('python3', [PROGRAM, folder, shadow, `${seed}`, CALLS, kind], { limitMs: LIMIT_MS, cwd: '/' }),
          );
          assert.equal(readdirSync(folder).sort(), readdirSync(shadow).sort());
          for (const name of readdirSync(shadow)) {
            const wanted = readFileSync(join(shadow, name));
            assert.ok(
              readFileSync(primary.backing(`${kind}/${name}`)).equals(wanted),
              `${kind}/${name}, the real file`,
            );
          }
        }),
      );
      const said = primary.log.split('\n').filter((line) => line.includes('file system:'));
      assert.equal(said, [], 'the worker had nothing to complain of');
      assert.is(await primary.stop(), 0);
    } finally {
      await stopAll();
    }
  });
}

test.run();
