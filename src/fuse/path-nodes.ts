import type { Backing, Result } from './backing.js';
import { EILSEQ, ENOENT, ENOTDIR } from './errno.js';
import type { NameOperations } from './names.js';
import type { Folder, Node, RegularFile } from './nodes.js';

/** libfuse gives an open file that is unlinked or replaced such a name until its last handle is closed. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]{16}$/;

export const isHiddenName = (path: string): boolean => HIDDEN.test(path.slice(path.lastIndexOf('/') + 1));

/** In a path that was not UTF-8: what stood there is not told. */
const REPLACEMENT = '\ufffd';

/** The nodes of a mount by the paths that libfuse names them by: `/`, `/folder/app.db`. */
export class PathNodes {
  readonly #backing: Backing;
  readonly #names: NameOperations;
  /** What is unlinked, by the name that libfuse has for it. */
  readonly #hidden = new Map<string, RegularFile>();
  /** The name in its folder of what `folder` found. */
  name = '';

  constructor(backing: Backing, names: NameOperations) {
    this.#backing = backing;
    this.#names = names;
  }

  /** The folder that a path is in, or a negative errno; fills `name`. Never of `/`. */
  folder(path: string): Folder | Result {
    if (path.includes(REPLACEMENT)) return -EILSEQ;
    const end = path.lastIndexOf('/');
    this.name = path.slice(end + 1);
    return end <= 0 ? this.#backing.table.root : this.asFolder(path.slice(0, end));
  }

  /** The folder at a path, or a negative errno. */
  asFolder(path: string): Folder | Result {
    let folder = this.#backing.table.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      let node = this.#backing.table.child(folder, name);
      if (node === undefined) {
        const result = this.#names.lookup(folder, name);
        if (result < 0) return result;
        node = this.#names.node;
      }
      if (node.kind !== 'folder') return -ENOTDIR;
      folder = node;
    }
    return folder;
  }

  /** What is at a path, or a negative errno: known already, or looked up. */
  node(path: string): Node | Result {
    if (path === '/') return this.#backing.table.root;
    const hidden = this.#hidden.get(path);
    if (hidden !== undefined) return hidden;
    const folder = this.folder(path);
    if (typeof folder === 'number') return folder;
    const known = this.#backing.table.child(folder, this.name);
    if (known !== undefined && known.kind !== 'virtual') return known;
    const result = this.#names.lookup(folder, this.name);
    return result < 0 ? result : this.#names.node;
  }

  /** libfuse's name for an unlinked file. */
  hidden(path: string): RegularFile | undefined {
    return this.#hidden.get(path);
  }

  hide(path: string, file: RegularFile): void {
    this.#hidden.set(path, file);
  }

  /** The last handle is closed. -ENOENT if it was not hidden. */
  reveal(path: string): Result {
    return this.#hidden.delete(path) ? 0 : -ENOENT;
  }
}
