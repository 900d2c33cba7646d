// `npm run bench`: sets a clone up and measures.
import { build, checkMachine, checkNode, install, withSetup } from './setup.mjs';

await withSetup(() => {
  checkNode();
  checkMachine();
  install();
  build();
});
await import('../dist/bench/index.js');
