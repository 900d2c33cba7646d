import type { StepName } from './injection-steps.js';
import type { StartReport } from './start-report.js';

/** What makes a call of each label, and the errors that are injected there. */

/** Each label with each error that it may have; else with one. */
const ALL = process.env.SLUICE_FAULT_KINDS === 'all';

/** Of a running primary: which step makes a call of each label. */
export const RUNNING: Record<StepName, readonly string[]> = {
  wal: each('wal', 'create read'),
  rollback: ['journal.create', 'journal.write', 'journal.sync'],
  unlogged: ['mark.create'],
  passing: ['db.create', 'db.write', 'db.sync', 'log.unlink', ...each('unlogged-folder', 'open sync')],
  copying: ['mark.open'],
  files: each('db', 'truncate rename link unlink change'),
  replacing: each('orphan', 'rename unlink'),
  wals: each('wal', 'open write truncate sync rename link unlink change'),
  journals: each('journal', 'open read truncate rename link unlink change'),
  shms: each('shm', 'open create read write truncate sync rename link unlink change'),
  superJournals: each('super-journal', 'open create read write truncate sync rename link unlink change'),
  folders: each('files-folder', 'open rmdir sync rename change'),
  orphan: each('orphan', 'read write truncate sync change'),
};

/** Of a start or stop: on a folder that a crash left, on none, on one whose mount lives on, or that has its node. */
export const STARTING: Record<StartReport['kind'], readonly string[]> = {
  used: [
    'db.open',
    'db.read',
    ...each('log', 'open create read write truncate sync'),
    ...each('state', 'open create read write sync unlink'),
    ...each('sums', 'open create read write truncate sync unlink'),
    ...each('name', 'create read write sync rename unlink'),
    ...each('session', 'create write rename unlink'),
    'nodes.open',
    'locks.open',
    'orphan.unlink',
    'mark.unlink',
    'identity.read',
    ...each('pid', 'open write'),
    ...each('keeper', 'create read write rename unlink'),
    'files-folder.list',
    ...each('meta-folder', 'open mkdir rmdir list sync'),
    ...each('run-folder', 'mkdir rmdir'),
    ...each('spool-folder', 'mkdir rmdir'),
    'set-aside.unlink',
    ...each('set-aside-folder', 'list rmdir'),
  ],
  fresh: [
    'nodes.create',
    'locks.create',
    ...each('identity', 'create write sync rename'),
    'pid.create',
    ...each('data-folder', 'mkdir open sync'),
    ...each('passed', 'create write sync rename'),
    ...each('run-folder', 'open sync'),
    ...each('cut-off', 'open unlink'),
    'files-folder.mkdir',
    'unlogged-folder.mkdir',
  ],
  'left over': ['name.open', 'identity.open', 'keeper.open'],
  'taken over': [
    ...each('nodes', 'read write truncate rename unlink'),
    ...each('locks', 'read'),
    ...each('session', 'open read'),
    'run-folder.list',
  ],
  held: ['pid.read'],
  outlived: each('cut-off', 'create write change sync rename'),
};

/** Of a replica that takes what does not go in one message. */
export const SPOOLING = each('spool', 'create write open read unlink');
/** Of one that sets a database aside. */
export const SETTING_ASIDE = [
  ...each('set-aside-folder', 'mkdir open sync rename'),
  ...each('set-aside', 'create write open sync'),
];
/** Of a primary with `locks: sluice`. */
export const LOCKING = 'locks.write';
/** Of the next node on a mount, when a file that has no name any more is used. */
export const INHERITED = 'orphan.open';

/** What fails as well, where only that leads to the call: the rules beside the label's own. */
const TOGETHER: Record<string, readonly string[]> = {
  // The log that could not be put in its place.
  'nodes.unlink': ['nodes.rename EIO'],
  // What undoes a rename over an open file, whose data has another name by then: a second one, or, without hard links, the only.
  'orphan.unlink replacing': ['db.rename EIO 1'],
  'orphan.rename replacing': ['db.link EPERM', 'db.rename EIO 2'],
};

/** All labels that have a case. */
export const CASES: readonly string[] = [
  ...Object.values(RUNNING).flat(),
  ...Object.values(STARTING).flat(),
  ...SPOOLING,
  ...SETTING_ASIDE,
  LOCKING,
  INHERITED,
];

/** The rules that make calls of the label fail, in the step or kind of start that has it. */
export const rulesOf = (label: string, error: string, where: string, nth = ''): readonly string[] => [
  `${label} ${error}${nth}`,
  ...(TOGETHER[`${label} ${where}`] ?? TOGETHER[label] ?? []),
];

/** What each label fails with: a full disk, a full table of descriptors, or the disk itself. */
export function errorsOf(label: string): readonly string[] {
  const [, operation] = label.split('.') as [string, string];
  const needsNoRoom = ['open', 'read', 'list'].includes(operation);
  if (ALL) return needsNoRoom ? ['EIO', 'EMFILE'] : ['ENOSPC', 'EIO', 'EMFILE'];
  if (['write', 'mkdir', 'rename', 'link'].includes(operation)) return ['ENOSPC'];
  return ['open', 'create', 'list'].includes(operation) ? ['EMFILE'] : ['EIO'];
}

function each(kind: string, operations: string): string[] {
  return operations.split(' ').map((operation) => `${kind}.${operation}`);
}
