/**
 * Calls on the data folder have labels, `<kind>.<operation>`: the kind of file by its path, and what is done to it. Faults
 * are injected by them, and each of them has its case in test/faults/injection.test.ts.
 */

/** What is done to a file or folder. */
export type Operation =
  | 'open'
  | 'create'
  | 'read'
  | 'write'
  | 'truncate'
  | 'sync'
  | 'rename'
  | 'link'
  | 'unlink'
  | 'change'
  | 'mkdir'
  | 'rmdir'
  | 'list';

/** Of files by kind, as the node does them: a call with another label is refused where calls are watched. */
const FILES: Record<string, readonly Operation[]> = {
  db: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'rename', 'link', 'unlink', 'change'],
  wal: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'rename', 'link', 'unlink', 'change'],
  shm: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'rename', 'link', 'unlink', 'change'],
  journal: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'rename', 'link', 'unlink', 'change'],
  'super-journal': ['open', 'create', 'read', 'write', 'truncate', 'sync', 'rename', 'link', 'unlink', 'change'],
  log: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'unlink'],
  state: ['open', 'create', 'read', 'write', 'sync', 'unlink'],
  sums: ['open', 'create', 'read', 'write', 'truncate', 'sync', 'unlink'],
  name: ['open', 'create', 'read', 'write', 'sync', 'rename', 'unlink'],
  nodes: ['open', 'create', 'read', 'write', 'truncate', 'rename', 'unlink'],
  locks: ['open', 'create', 'read', 'write'],
  session: ['open', 'create', 'read', 'write', 'rename', 'unlink'],
  orphan: ['open', 'read', 'write', 'truncate', 'sync', 'rename', 'unlink', 'change'],
  mark: ['open', 'create', 'unlink'],
  passed: ['create', 'write', 'sync', 'rename'],
  'cut-off': ['open', 'create', 'write', 'change', 'sync', 'rename', 'unlink'],
  spool: ['open', 'create', 'read', 'write', 'unlink'],
  'set-aside': ['open', 'create', 'write', 'sync', 'unlink'],
  identity: ['open', 'create', 'read', 'write', 'sync', 'rename'],
  pid: ['open', 'create', 'read', 'write'],
  keeper: ['open', 'create', 'read', 'write', 'rename', 'unlink'],
};

const FOLDERS: Record<string, readonly Operation[]> = {
  'data-folder': ['open', 'mkdir', 'sync'],
  'files-folder': ['open', 'mkdir', 'rmdir', 'list', 'sync', 'rename', 'change'],
  'meta-folder': ['open', 'mkdir', 'rmdir', 'list', 'sync'],
  'run-folder': ['open', 'mkdir', 'rmdir', 'list', 'sync'],
  'unlogged-folder': ['mkdir', 'open', 'sync'],
  'spool-folder': ['mkdir', 'rmdir'],
  'set-aside-folder': ['open', 'mkdir', 'rmdir', 'list', 'sync', 'rename'],
};

/** All labels. */
export const LABELS: readonly string[] = Object.entries({ ...FILES, ...FOLDERS }).flatMap(([kind, operations]) =>
  operations.map((operation) => `${kind}.${operation}`),
);

/** The kind of the file or folder at `path`, which is relative to the data folder. */
export function kindOf(path: string, isFolder: boolean): string {
  const [area, ...rest] = path.split('/') as [string, ...string[]];
  if (path === '') return 'data-folder';
  if (isFolder) return `${area}-folder`;
  const name = rest.at(-1) ?? '';
  switch (area) {
    case 'files':
      return kindOfDatabaseFile(name);
    case 'meta':
      return name.endsWith('.log') ? 'log' : withoutNew(name);
    case 'run':
      return rest[0] === 'orphans' ? 'orphan' : withoutNew(name).replace(/\.json$/, '');
    case 'unlogged':
      return 'mark';
    case 'node.json':
    case 'node.json.new':
      return 'identity';
    case 'node.pid':
      return 'pid';
    case 'keeper.json':
    case 'keeper.json.new':
      return 'keeper';
    default:
      return area;
  }
}

function kindOfDatabaseFile(name: string): string {
  if (name.endsWith('-wal')) return 'wal';
  if (name.endsWith('-shm')) return 'shm';
  if (name.endsWith('-journal')) return 'journal';
  return /-mj[0-9A-F]{9}$/.test(name) ? 'super-journal' : 'db';
}

const withoutNew = (name: string): string => name.replace(/\.new$/, '');
