import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../../database/support/random.js';
import { applied, type DataChange, type DiskModel, File, Folder, type NameChange, type Node } from './disk-model.js';

const SECTOR = 512;
/** Kinds of files that the disk may have, or not, apart from the others. */
const LUCKY = ['db', 'wal', 'journal', 'super-journal', 'log', 'state', 'sums', 'name'];

/** Which of the changes that are not durable are on the disk. */
export interface Choice {
  readonly description: string;
  /** Of a change of a file: the part of it that is there; undefined if nothing is. */
  readonly data: (change: DataChange, file: File) => DataChange | readonly DataChange[] | undefined;
  /** How many of a folder's changes are. */
  readonly names: (folder: Folder) => number;
  /** The file has the size that it would have with all of its changes: zeros where they are not. */
  readonly grown: (file: File) => boolean;
  /** Its time is that of its last change, whether that is there or not. */
  readonly timed: (file: File) => boolean;
}

/** A tree of names, with what is in the files. */
export type Tree = Map<string, { readonly content: Buffer; readonly mtimeMs: number } | Tree>;

/** The kinds of choices: the first two are made at each point, the others by chance. */
export function makeChoice(model: DiskModel, variant: number, random: Random): Choice {
  const { data, folders } = pendingOf(model);
  if (variant === 0) return choice('nothing', none, () => 0);
  if (variant === 1) return choice('everything', all, (folder) => folder.pending.length);
  const names = namesBy(folders, random);
  const grown = fixed(() => random.below(8) === 0);
  const timed = fixed(() => random.below(2) === 0);
  const { description, of } = dataBy(data, random);
  return { description: `${description}; ${names.description}`, data: of, names: names.of, grown, timed };
}

interface Described<T> {
  readonly description: string;
  readonly of: T;
}

const none = (): undefined => undefined;
const all = (change: DataChange): DataChange => change;

function choice(description: string, data: Choice['data'], names: Choice['names']): Choice {
  return { description, data, names, grown: () => false, timed: () => false };
}

function namesBy(folders: readonly Folder[], random: Random): Described<Choice['names']> {
  const kind = random.below(10);
  const counts = new Map<Folder, number>();
  for (const folder of folders) {
    const { length } = folder.pending;
    const count = kind < 6 ? length : kind === 6 ? 0 : kind < 8 ? length - random.below(3) : random.below(length + 1);
    counts.set(folder, Math.max(0, count));
  }
  agree(counts);
  const parts = [...counts].map(([folder, count]) => `${count}/${folder.pending.length}`);
  return { description: `names ${parts.join(' ')}`, of: (folder) => counts.get(folder) ?? 0 };
}

/** A rename between folders is in both or in neither, and with it what came before. */
function agree(counts: Map<Folder, number>): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const [folder, count] of counts) {
      const missing = folder.pending.slice(0, count).findIndex((change) => !isInAll(change, folder, counts));
      if (missing < 0) continue;
      counts.set(folder, missing);
      changed = true;
    }
  }
}

const isInAll = (change: NameChange, folder: Folder, counts: Map<Folder, number>): boolean =>
  change.put.every(
    (put) => put.folder === folder || put.folder.pending.indexOf(change) < (counts.get(put.folder) ?? 0),
  );

function dataBy(data: readonly (readonly [DataChange, File])[], random: Random): Described<Choice['data']> {
  const files = [...new Set(data.map(([, file]) => file))];
  // Among the last ones: what is older was at risk at earlier points too.
  const pick = (): DataChange | undefined => data[Math.max(0, data.length - 1 - random.below(40))]?.[0];
  const chance = (percent: number): Choice['data'] => {
    const there = new Set(data.filter(() => random.below(100) < percent).map(([change]) => change));
    return (change) => (there.has(change) ? change : undefined);
  };
  switch (random.below(10)) {
    case 0: {
      const percent = [10, 50, 90][random.below(3)]!;
      return { description: `${percent} % of the writes`, of: chance(percent) };
    }
    case 1: {
      const lost = pick();
      return {
        description: `all but #${lost?.index} ${lost?.label}`,
        of: (each) => (each === lost ? undefined : each),
      };
    }
    case 2: {
      const kept = pick();
      return { description: `only #${kept?.index} ${kept?.label}`, of: (each) => (each === kept ? each : undefined) };
    }
    case 3: {
      const until = pick()?.index ?? 0;
      return { description: `all before #${until}`, of: (each) => (each.index < until ? each : undefined) };
    }
    case 4:
    case 5: {
      // As if the log were luckier than the WAL, or the database than its journal.
      const kinds = new Set(LUCKY.filter(() => random.below(2) === 0));
      const of = (each: DataChange) => (kinds.has(each.label.split('.')[0]!) ? each : undefined);
      return { description: `all writes of ${[...kinds].join(', ')}`, of };
    }
    case 8: {
      const there = new Set(files.filter(() => random.below(2) === 0));
      return { description: 'all writes of some files', of: (each, file) => (there.has(file) ? each : undefined) };
    }
    case 6: {
      const parts = new Map(data.map(([change]) => [change, torn(change, random)]));
      return { description: 'each write torn', of: (each) => parts.get(each) };
    }
    case 7: {
      const one = pick();
      const parts = one === undefined ? [] : torn(one, random);
      const after = random.below(2) === 0;
      const of = (each: DataChange) =>
        each === one ? parts : after || each.index < (one?.index ?? 0) ? each : undefined;
      return { description: `#${one?.index} ${one?.label} torn, later ones ${after ? 'there' : 'lost'}`, of };
    }
    default: {
      // The disk writes each file from its start to some point.
      const ends = new Map(files.map((file) => [file, file.pending[random.below(file.pending.length)]?.index ?? 0]));
      return {
        description: 'each file up to some write',
        of: (each, file) => (each.index < ends.get(file)! ? each : undefined),
      };
    }
  }
}

/** The sectors of a write that came to the disk. */
function torn(change: DataChange, random: Random): DataChange[] {
  const { content, at } = change;
  if (content === undefined) return random.below(2) === 0 ? [change] : [];
  const parts: DataChange[] = [];
  for (let start = 0; start < content.length; ) {
    const end = Math.min(content.length, start + SECTOR - ((at + start) % SECTOR));
    if (random.below(2) === 0) parts.push({ ...change, at: at + start, content: content.subarray(start, end) });
    start = end;
  }
  return parts;
}

function fixed(toss: () => boolean): (file: File) => boolean {
  const tossed = new Map<File, boolean>();
  return (file) => {
    if (!tossed.has(file)) tossed.set(file, toss());
    return tossed.get(file)!;
  };
}

/** Of all files and folders that can be reached with some choice of names. */
function pendingOf(model: DiskModel): { data: (readonly [DataChange, File])[]; folders: Folder[] } {
  const seen = new Set<Node>();
  const visit = (node: Node | undefined): void => {
    if (node === undefined || seen.has(node)) return;
    seen.add(node);
    if (!(node instanceof Folder)) return;
    for (const child of node.durable.values()) visit(child);
    for (const { put } of node.pending) for (const each of put) visit(each.node);
  };
  visit(model.root);
  const data: (readonly [DataChange, File])[] = [];
  for (const node of seen) if (node instanceof File) for (const change of node.pending) data.push([change, node]);
  data.sort(([a], [b]) => a.index - b.index);
  return { data, folders: [...seen].filter((node) => node instanceof Folder) };
}

/** What the disk has. */
export function treeOf(folder: Folder, made: Choice): Tree {
  const tree: Tree = new Map();
  for (const [name, node] of folder.names(made.names(folder))) {
    tree.set(name, node instanceof Folder ? treeOf(node, made) : contentOf(node, made));
  }
  return tree;
}

function contentOf(file: File, made: Choice): { content: Buffer; mtimeMs: number } {
  const changes = file.pending.flatMap((change) => made.data(change, file) ?? []);
  let content = applied(file.durable, changes);
  if (made.grown(file)) {
    const { length } = applied(file.durable, file.pending);
    if (length > content.length) content = Buffer.concat([content, Buffer.alloc(length - content.length)]);
  }
  const last = made.timed(file) ? file.pending.at(-1) : changes.at(-1);
  return { content, mtimeMs: last?.mtimeMs ?? file.mtimeMs };
}

/** Writes a tree into `path`, which is there and empty. */
export function writeTree(tree: Tree, path: string): void {
  for (const [name, entry] of tree) {
    const at = join(path, name);
    if (entry instanceof Map) {
      mkdirSync(at);
      writeTree(entry, at);
    } else {
      writeFileSync(at, entry.content);
      utimesSync(at, entry.mtimeMs / 1000, entry.mtimeMs / 1000);
    }
  }
}
