// `npm run soak -- <campaign> [options]`: sets a clone up and runs one of the long campaigns of test/soak.
import { existsSync } from 'node:fs';
import { build, checkNode, install, withSetup } from './setup.mjs';

const campaign = process.argv[2] ?? '';
await withSetup(() => {
  checkNode();
  install();
  build();
});
const program = new URL(`../dist/test/soak/${campaign}/index.js`, import.meta.url);
if (!/^[a-z-]+$/.test(campaign) || !existsSync(program)) {
  console.error('usage: npm run soak -- crash|survive|power|fuzz|linear|web [options]');
  process.exit(2);
}
process.argv.splice(2, 1);
await import(program.href);
