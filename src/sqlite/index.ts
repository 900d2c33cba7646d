export * from './file-names.js';
export * from './header.js';
export * from './journal.js';
export * from './wal.js';
