import type { TargetEntry } from './target.js';

/** Every decoder of bytes that someone else may have written, or that a crash may have left. */
export const TARGETS: readonly TargetEntry[] = [
  { name: 'fuse', quickInputs: 75, load: async () => (await import('./targets/fuse.js')).fuse },
  { name: 'messages', quickInputs: 3000, load: async () => (await import('./targets/messages.js')).messages },
  { name: 'ltx', quickInputs: 400, load: async () => (await import('./targets/ltx.js')).ltx },
  { name: 'page-index', quickInputs: 1000, load: async () => (await import('./targets/ltx.js')).pageIndex },
  { name: 'lz4-block', quickInputs: 1000, load: async () => (await import('./targets/lz4.js')).lz4Blocks },
  { name: 'lz4-frame', quickInputs: 750, load: async () => (await import('./targets/lz4.js')).lz4Frames },
  {
    name: 'database-header',
    quickInputs: 5000,
    load: async () => (await import('./targets/sqlite-files.js')).databaseHeader,
  },
  { name: 'journal', quickInputs: 5000, load: async () => (await import('./targets/sqlite-files.js')).journal },
  { name: 'hot-journal', quickInputs: 20, load: async () => (await import('./targets/hot-journal.js')).hotJournal },
  { name: 'wal', quickInputs: 2000, load: async () => (await import('./targets/sqlite-files.js')).wal },
  { name: 'wal-tracker', quickInputs: 1500, load: async () => (await import('./targets/wal-tracker.js')).walTracker },
  {
    name: 'wal-index-header',
    quickInputs: 4000,
    load: async () => (await import('./targets/wal-index.js')).walIndexHeader,
  },
  {
    name: 'wal-index-block',
    quickInputs: 400,
    load: async () => (await import('./targets/wal-index.js')).walIndexBlock,
  },
  { name: 'state-file', quickInputs: 500, load: async () => (await import('./targets/own-files.js')).stateFile },
  { name: 'sums-file', quickInputs: 500, load: async () => (await import('./targets/own-files.js')).sumsFile },
  { name: 'log-segment', quickInputs: 150, load: async () => (await import('./targets/own-files.js')).logSegment },
  { name: 'node-log', quickInputs: 100, load: async () => (await import('./targets/mount-files.js')).nodeLog },
  { name: 'lock-file', quickInputs: 500, load: async () => (await import('./targets/mount-files.js')).lockFile },
  { name: 'config', quickInputs: 100, load: async () => (await import('./targets/config.js')).config },
  { name: 'addresses', quickInputs: 2000, load: async () => (await import('./targets/addresses.js')).addresses },
  { name: 'names', quickInputs: 2000, load: async () => (await import('./targets/addresses.js')).names },
];
