// Time limit: 10 min
/** mount-crash.test.ts once more, with a node whose kernel writes WALs by itself. */
process.env.SLUICE_TEST_PASSTHROUGH = 'on';
await import('./mount-crash.test.js');

export {};
