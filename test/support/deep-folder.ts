import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Linux takes paths of so many bytes, with the NUL at the end. */
const PATH_MAX = 4096;
const NAME_BYTES = 250;

export interface DeepFolder {
  /** The folder's name, whose length is what makes the paths below too long. */
  readonly name: string;
  /** A file in it, by a path that is not too long. */
  readonly near: string;
  /** Gives it a short name, with which all of it can be opened; returns that. */
  shorten(): string;
  /** Removes it, where `root` is, by a program that does without long paths. */
  remove(root?: string): void;
}

/** A folder below `root` with files whose paths, below `longest`, are longer than the system takes. */
export function makeDeepFolder(root: string, longest = root): DeepFolder {
  const [short, name, part] = ['s', 'n', 'd'].map((letter) => letter.repeat(letter === 's' ? 1 : NAME_BYTES)) as [
    string,
    string,
    string,
  ];
  const room = PATH_MAX - longest.length - 10;
  const levels = Math.floor(room / (NAME_BYTES + 1));
  // However long the path of the root is.
  const rest = room % (NAME_BYTES + 1);
  const filler = rest < 2 ? [] : ['e'.repeat(rest - 1)];
  const folder = join(root, short, ...filler, ...new Array<string>(levels).fill(part));
  mkdirSync(folder, { recursive: true });
  // Now, or once the folder has its name, too long by itself, or by its folder.
  for (const path of [join(folder, 'f'), join(folder, '..', 'g'.repeat(NAME_BYTES)), join(root, short, 'near')])
    writeFileSync(path, 'text');
  renameSync(join(root, short), join(root, name));
  return {
    name,
    near: join(name, 'near'),
    shorten() {
      renameSync(join(root, name), join(root, short));
      return short;
    },
    remove(where = root) {
      spawnSync('rm', ['-rf', join(where, name), join(where, short)]);
    },
  };
}
