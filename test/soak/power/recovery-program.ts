import { MountBench } from '../../database/support/mount-bench.js';
import { SLOTS } from './verdict.js';

/** Starts a node, without a mount, on a data folder that a crash left, and stops it: `recovery-program.js FOLDER MOUNT`. */
const [root, mountPath] = process.argv.slice(2) as [string, string];
const bench = new MountBench(root, mountPath, SLOTS);
await bench.start();
await bench.quiet();
await bench.stop(true);
