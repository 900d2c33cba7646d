// Time limit: 10 min
/** mount-modes.test.ts once more, with a node that is asked for each write to a WAL. */
process.env.SLUICE_TEST_PASSTHROUGH = 'off';
await import('./mount-modes.test.js');

export {};
