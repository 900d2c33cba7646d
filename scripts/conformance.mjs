// `npm run conformance`: sets a clone up, installs the tests that others wrote, and runs them on ext4 and on mounts. Words
// after -- choose among them: `npm run conformance -- core mptester --locks kernel`.
import { spawnSync } from 'node:child_process';
import { build, checkMachine, checkNode, install, ROOT, withSetup } from './setup.mjs';

await withSetup(() => {
  checkNode();
  checkMachine();
  install();
  build();
});
for (const script of [['scripts/sqlite-tools.mjs', '--all'], ['scripts/conformance-tools.mjs']]) {
  const tools = spawnSync(process.execPath, script, { cwd: ROOT, stdio: 'inherit' });
  if (tools.status !== 0) process.exit(1);
}
await import('../dist/test/conformance/index.js');
