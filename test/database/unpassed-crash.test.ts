// Time limit: 10 min
/** mount-crash.test.ts once more, with a node that sees each write to a WAL as a request. */
process.env.SLUICE_TEST_PASSTHROUGH = 'off';
await import('./mount-crash.test.js');

export {};
