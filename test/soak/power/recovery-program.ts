import { MountBench } from '../../database/support/mount-bench.js';
import { ReplicaBench } from './replica-bench.js';
import { SLOTS } from './verdict.js';

/** Starts a node, without a mount, on a data folder that a crash left, and stops it: `recovery-program.js FOLDER MOUNT primary|replica`. */
const [root, mountPath, role] = process.argv.slice(2) as [string, string, string];
if (role === 'replica') {
  const bench = new ReplicaBench(root, mountPath);
  await bench.recover();
  bench.saveClean();
} else {
  const bench = new MountBench(root, mountPath, SLOTS);
  await bench.start();
  await bench.quiet();
  await bench.stop(true);
}
