// Time limit: 10 min
/** mount-modes.test.ts once more, with nodes that mount by libfuse. */
import { DRIVERS } from '../fuse/support/mounted.js';

process.env.SLUICE_TEST_DRIVER = 'libfuse';
if (DRIVERS.includes('libfuse')) await import('./mount-modes.test.js');
