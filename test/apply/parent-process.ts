import { createApplier } from '../../src/apply/index.js';

/** A node that starts an applier, says its pid, and waits to be killed: `parent-process.js MOUNT`. */
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const applier = createApplier({ mount: process.argv[2] ?? '', onPid: () => undefined, log });
await applier.start();
await applier.open('a.db');
process.send?.(applier.pid);
