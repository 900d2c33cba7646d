import { createHash, randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from '../disk/index.js';
import { SluiceError } from '../errors.js';
import { writeDurably } from './durable-file.js';
import { checkName } from './names.js';
import { UnloggedMarks } from './unlogged-marks.js';

/** The data folder's own format; a newer one is refused. */
const FORMAT = 1;
const READABLE_NAME_MAX = 120;
const UNFINISHED = '.unfinished';
const NAME_FILE = 'name';
/** The end of a folder's name that is not all of its database's. */
const SHORTENED = /~[0-9a-f]{32}$/;

/**
 * Where a node keeps things under its data folder:
 *
 *     files/              the real files behind the mount
 *     meta/<database>/    name, state, sums, and the log's segments of each database
 *     run/                the mount's own: node ids, unlinked files that are still open; node.sock for the HTTP proxy
 *     unlogged/           marks on databases whose file has changes that are in no log yet
 *     spool/              files on their way in or out; emptied at each start
 *     set-aside/<time>/   databases that gave way to others, never deleted by Sluice
 *     restore/            what a restore on start has not put in its place yet
 *     node.json           this node's id and the folder's format
 *     proxy.key           what the HTTP proxy signs with where there is no token
 */
export class DataFolder {
  readonly files: string;
  readonly meta: string;
  readonly run: string;
  readonly spool: string;
  readonly marks: UnloggedMarks;
  readonly setAside: string;
  /** 16 hex digits, made once, kept for the life of the folder. */
  readonly nodeId: string;

  constructor(readonly root: string) {
    this.files = join(root, 'files');
    this.meta = join(root, 'meta');
    this.run = join(root, 'run');
    this.spool = join(root, 'spool');
    this.marks = new UnloggedMarks(join(root, 'unlogged'));
    this.setAside = join(root, 'set-aside');
    for (const folder of [this.files, this.meta, this.run, this.spool]) mkdirSync(folder, { recursive: true });
    this.nodeId = this.identify(join(root, 'node.json'));
  }

  /** The folder of one database's state; made if needed. Long or odd names are shortened to a hash. */
  metaOf(name: string): string {
    const folder = join(this.meta, folderInMeta(name));
    if (readName(folder) !== name) {
      mkdirSync(folder, { recursive: true });
      // A folder whose own name says it all needs no waiting for the disk: see `knownNames`.
      const write = isShortened(name) ? writeDurably : writeFileSync;
      write(join(folder, NAME_FILE), name);
    }
    return folder;
  }

  /**
   * Names of all databases that have state here, also of dropped ones. `nameless` is told of a folder whose name is lost
   * and cannot be read off the folder's own: it comes back with its database, if that is among the files.
   */
  knownNames(nameless: (folder: string, error: unknown) => void): string[] {
    const names: string[] = [];
    for (const entry of readdirSync(this.meta, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const folder = join(this.meta, entry.name);
      try {
        const written = readName(folder);
        const name = written !== undefined && folderInMeta(written) === entry.name ? written : nameOf(entry.name);
        checkName(name);
        names.push(name);
      } catch (error) {
        nameless(folder, error);
      }
    }
    return names;
  }

  /** A dated folder for something that gives way: filled as `unfinished`, then renamed to `finished`. */
  newSetAside(reason: string): { readonly unfinished: string; readonly finished: string } {
    const stamp = new Date().toISOString().replace(/[:.]/g, '-');
    for (let n = 0; ; n++) {
      const finished = join(this.setAside, `${stamp}-${reason}${n === 0 ? '' : `-${n}`}`);
      const unfinished = `${finished}${UNFINISHED}`;
      if (existsSync(finished) || existsSync(unfinished)) continue;
      mkdirSync(unfinished, { recursive: true });
      return { unfinished, finished };
    }
  }

  /** At a start: removes copies that a crash cut short; what they were to be copies of is still in its place. */
  removeUnfinished(): void {
    if (!existsSync(this.setAside)) return;
    for (const name of readdirSync(this.setAside)) {
      if (name.endsWith(UNFINISHED)) rmSync(join(this.setAside, name), { recursive: true, force: true });
    }
  }

  private identify(file: string): string {
    // Empty: the machine stopped before anything of it was on disk.
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0) {
      const nodeId = randomBytes(8).toString('hex');
      writeDurably(file, `${JSON.stringify({ format: FORMAT, nodeId })}\n`);
      return nodeId;
    }
    const { format, nodeId } = readIdentity(file);
    if (format !== FORMAT || typeof nodeId !== 'string') {
      throw new SluiceError(
        'DATA_FORMAT',
        `the data folder ${this.root} has format ${String(format)}, this version of Sluice knows ${FORMAT}`,
        'Use the version of Sluice that wrote it, or another data folder',
      );
    }
    return nodeId;
  }
}

/** The name that the folder's file says; undefined if it has none. */
function readName(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, NAME_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The name of a database's folder below `meta`. */
export function folderInMeta(name: string): string {
  const encoded = encodeURIComponent(name);
  if (!isShortened(name)) return encoded;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 32);
  return `${encoded.replace(/^\.+/, '').slice(0, READABLE_NAME_MAX - 33)}~${hash}`;
}

function isShortened(name: string): boolean {
  return name.startsWith('.') || encodeURIComponent(name).length > READABLE_NAME_MAX;
}

/** The name whose folder this is. Throws if it is a shortened one, or no database's. */
function nameOf(folder: string): string {
  const name = decodeURIComponent(folder);
  if (SHORTENED.test(folder) || folderInMeta(name) !== folder)
    throw new SluiceError('DATA_FORMAT', `${folder} is not the folder of ${name}`);
  return name;
}

function readIdentity(file: string): { readonly format?: unknown; readonly nodeId?: unknown } {
  try {
    const content: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof content === 'object' && content !== null) return content;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new SluiceError(
    'DATA_FORMAT',
    `${file} is damaged`,
    `It only says {"format":${FORMAT},"nodeId":"16 hex digits"}: write that, with digits of your own if they are lost`,
  );
}
