// Time limit: 10 min
/** mount-modes.test.ts once more, with a node that sees each write to a WAL as a request. */
process.env.SLUICE_TEST_PASSTHROUGH = 'off';
await import('./mount-modes.test.js');

export {};
