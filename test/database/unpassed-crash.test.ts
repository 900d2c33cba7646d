// Time limit: 10 min
/** mount-crash.test.ts once more, with a node that is asked for each write to a WAL. */
process.env.SLUICE_TEST_PASSTHROUGH = 'off';
await import('./mount-crash.test.js');

export {};
