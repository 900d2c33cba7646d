import { readdirSync } from '../disk/index.js';
import { type Backing, backingPath, type Result } from './backing.js';
import { EPERM } from './errno.js';
import { isUnicode, nameOf } from './file-name.js';
import type { LibfuseParts } from './libfuse-parts.js';
import type { NameOperations } from './names.js';
import { callerOf, callerPid } from './native-binding.js';
import { nativeStatfs } from './native-stat.js';
import { isHiddenName, type PathNodes } from './path-nodes.js';
import * as p from './protocol.js';

/** Requests that make, remove, change or list names. Their arguments are those of fuse-native's handlers. */
export class LibfuseNames {
  readonly #backing: Backing;
  readonly #names: NameOperations;
  readonly #paths: PathNodes;

  constructor({ backing, names, paths, on }: LibfuseParts) {
    this.#backing = backing;
    this.#names = names;
    this.#paths = paths;
    on('unlink', p.FUSE_UNLINK, (record, path: string) => this.#unlink(record, path));
    on('rename', p.FUSE_RENAME, (record, path: string, to: string) => this.#rename(record, path, to));
    on('mkdir', p.FUSE_MKDIR, (record, path: string, mode: number) => this.#makeFolder(record, path, mode));
    on('rmdir', p.FUSE_RMDIR, (record, path: string) => this.#removeFolder(record, path));
    // See Session.
    on('link', p.FUSE_LINK, () => -EPERM);
    on('symlink', p.FUSE_SYMLINK, (record, target: string, path: string) => this.#makeLink(record, target, path));
    let listed: string[] = [];
    on(
      'readdir',
      p.FUSE_READDIR,
      (_record, path: string) => {
        const folder = this.#paths.asFolder(path);
        if (typeof folder === 'number') return folder;
        const { watcher } = this.#backing;
        const names = readdirSync(backingPath(this.#backing, folder), { encoding: 'buffer' }).map((name) =>
          nameOf(name),
        );
        listed = names.filter((name) => isUnicode(name) && !watcher.hidden(name));
        return 0;
      },
      (signal, record, result) => signal(record, result, result < 0 ? [] : ['.', '..', ...listed], []),
    );
    on(
      'statfs',
      p.FUSE_STATFS,
      () => 0,
      (signal, record) => signal(record, 0, nativeStatfs(names.statfs())),
    );
  }

  #unlink(record: Buffer, path: string): Result {
    if (this.#paths.reveal(path) === 0) return 0;
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    return this.#names.unlink(folder, this.#paths.name, callerPid(record), false);
  }

  #rename(record: Buffer, path: string, to: string): Result {
    if (isHiddenName(to)) return this.#hide(record, path, to);
    const from = this.#paths.folder(path);
    if (typeof from === 'number') return from;
    const { name } = this.#paths;
    const folder = this.#paths.folder(to);
    if (typeof folder === 'number') return folder;
    return this.#names.rename(from, name, folder, this.#paths.name, 0, callerPid(record), false);
  }

  /** An open file is unlinked, or is about to be replaced by a rename: its data is kept, as for any open file. */
  #hide(record: Buffer, path: string, hidden: string): Result {
    const file = this.#paths.node(path);
    if (typeof file === 'number') return file;
    // Nobody else may use such names.
    if (file.kind !== 'file' || file.handles === 0) return -EPERM;
    const result = this.#unlink(record, path);
    if (result === 0) this.#paths.hide(hidden, file);
    return result;
  }

  #makeFolder(record: Buffer, path: string, mode: number): Result {
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    return this.#names.createFolder(folder, this.#paths.name, mode, callerOf(record), false);
  }

  #makeLink(record: Buffer, target: string, path: string): Result {
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    return this.#names.createLink(folder, this.#paths.name, Buffer.from(target), callerOf(record), false);
  }

  #removeFolder(record: Buffer, path: string): Result {
    const folder = this.#paths.folder(path);
    if (typeof folder === 'number') return folder;
    return this.#names.removeFolder(folder, this.#paths.name, callerPid(record), false);
  }
}
