// `npm test`: sets a clone up, fetches the programs that judge and use ours, and runs the tests. Words after -- choose among
// them: `npm test -- ltx backup/restore`.
import { spawnSync } from 'node:child_process';
import { build, checkNode, install, ROOT, withSetup } from './setup.mjs';

const inCi = process.env.CI === 'true';
/** SQLite's own tests take minutes to build, and Django's are large: they are for CI, and elsewhere for who wants them. */
const SCRIPTS = [
  ['scripts/tools.mjs'],
  ['scripts/python-tools.mjs'],
  ...(inCi ? [['scripts/sqlite-tools.mjs'], ['scripts/conformance-tools.mjs', 'django']] : []),
];

await withSetup(() => {
  checkNode();
  install();
  build();
});
for (const [script, ...words] of SCRIPTS) {
  const tools = spawnSync(process.execPath, [script, ...words, ...(inCi ? [] : ['--optional'])], { cwd: ROOT, stdio: 'inherit' });
  if (tools.status === 0) continue;
  console.log('0 passed, 1 failed');
  process.exit(1);
}
await import('../dist/test/run.js');
