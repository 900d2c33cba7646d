export * from './exact-path.js';
export * from './file-names.js';
export * from './free-list.js';
export * from './header.js';
export * from './journal.js';
export * from './lock-bytes.js';
export * from './wal.js';
export * from './wal-index.js';
