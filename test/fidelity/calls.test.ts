// Time limit: 10 min
import { chmodSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { freshFolder, startPrimary, stopAll } from '../support/cluster.js';
import { callsIn, unlisted } from './calls.js';
import { DIFFERENCES } from './differences.js';

/**
 * Each call on each kind of file, by root and two other users, and sequences of them: on the mount of a primary they give
 * what they give on the file system of the temporary folder (ext4), but for the listed differences, all of which must be
 * there. One of so many meetings of calls and files takes place; all 7,000 do in `npm run conformance -- calls`.
 */

const STEP = 20;
const LIMIT_MS = 4 * 60_000;

for (const locks of ['kernel', 'sluice'] as const) {
  test(`calls give what they give on ext4, but for what is listed (locks: ${locks})`, async () => {
    const primary = await startPrimary({ mount: { path: './mnt', locks } });
    const plain = freshFolder('plain');
    try {
      for (const folder of [plain, primary.mount]) chmodSync(folder, 0o777);
      const [wanted, got] = await Promise.all([plain, primary.mount].map((folder) => callsIn(folder, STEP, LIMIT_MS)));
      const met = new Set<RegExp>();
      assert.is(unlisted(wanted!, got!, met).slice(0, 20).join('\n'), '');
      assert.ok(wanted!.size > 7000 / STEP, `${wanted!.size} lines`);
      for (const { where, reason } of DIFFERENCES) assert.ok(met.has(where), `this is no difference: ${reason}`);
      assert.equal((await primary.status()).problems, []);
    } finally {
      await stopAll();
    }
  });
}

test.run();
