// `npm start`: sets a clone up and runs a primary, a replica and a backup in ./data.
import { build, checkMachine, checkNode, install, withSetup } from './setup.mjs';

await withSetup(() => {
  checkNode();
  checkMachine();
  install();
  build();
});
await import('../dist/cmd/demo.js');
