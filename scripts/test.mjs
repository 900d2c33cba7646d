// `npm test`: sets a clone up, fetches the programs that judge ours, and runs the tests. Words after -- choose among
// them: `npm test -- ltx backup/restore`.
import { spawnSync } from 'node:child_process';
import { build, checkNode, install, ROOT, withSetup } from './setup.mjs';

const inCi = process.env.CI === 'true';

await withSetup(() => {
  checkNode();
  install();
  build();
});
const tools = spawnSync(process.execPath, ['scripts/tools.mjs', ...(inCi ? [] : ['--optional'])], { cwd: ROOT, stdio: 'inherit' });
if (tools.status !== 0) process.exit(1);
await import('../dist/test/run.js');
