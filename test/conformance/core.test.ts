// Time limit: 15 min
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stopAll } from '../support/cluster.js';
import { runAt } from './campaign.js';
import { type Locks, MountedPlace } from './place.js';
import { hasSqliteProgram, Staged } from './staged.js';
import { type LockBytes, readBaseline, readList, runTcl } from './tcl-suite.js';

/**
 * A part of SQLite's own tests on the mount of a primary with a replica and a backup; `npm run conformance` runs more.
 * Whatever passes on ext4 passes there, and what is committed at a test's end is on the replica and in the backup too.
 */

const TEST_LIMIT_MS = 240_000;

const PARTS: readonly { readonly list: string; readonly locks: Locks; readonly lockBytes: LockBytes }[] = [
  { list: 'ci', locks: 'kernel', lockBytes: 'real' },
  { list: 'ci-locks', locks: 'kernel', lockBytes: 'stock' },
  { list: 'ci-locks', locks: 'sluice', lockBytes: 'real' },
];

if (hasSqliteProgram('testfixture')) {
  for (const part of PARTS) describe(part);
} else if (process.env.CI === 'true') {
  throw new Error('testfixture is missing: run node scripts/sqlite-tools.mjs');
} else {
  console.log("SKIP conformance: SQLite's testfixture is not built (node scripts/sqlite-tools.mjs)");
}

function describe({ list, locks, lockBytes }: (typeof PARTS)[number]): void {
  const test = suite(`${locks} locks, lock bytes at their ${lockBytes} place`);
  const baseline = readBaseline(lockBytes);
  let place: MountedPlace;
  let staged: Staged;
  test.before(async () => {
    staged = new Staged();
    place = await MountedPlace.open(locks);
  });
  test.after(async () => {
    assert.equal(await place.close(), []);
    await stopAll();
  });
  for (const name of readList(list)) {
    test(name, async () => {
      const run = (folder: string) => runTcl(name, lockBytes, folder, staged, TEST_LIMIT_MS);
      const verdict = await runAt(place, { name, run }, baseline.get(name));
      assert.equal(verdict.complaints, []);
    });
  }
  test.run();
}
