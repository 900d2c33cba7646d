// Time limit: 10 min
/** mount-modes.test.ts once more, with a node whose kernel writes WALs by itself. */
process.env.SLUICE_TEST_PASSTHROUGH = 'on';
await import('./mount-modes.test.js');

export {};
