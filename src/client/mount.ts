import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join, relative } from 'node:path';
import { errorCode, SluiceError } from '../errors.js';

const POSITION_SUFFIX = '-pos';
const LOCK_SUFFIX = '-lock';
const LAG = '.lag';
const PRIMARY = '.primary';
/** What the node says while it knows nothing of its primary. */
const LAG_UNKNOWN_MS = 2147483647;
/** Node.js has no name for it. What was looked up is no longer what it was. */
const ESTALE = -116;

/** The files of a mounted folder that exist by name only. All calls are asynchronous, and none waits for the primary. */
export class Mount {
  constructor(readonly folder: string) {}

  /** The primary's address, as it is told to others; null on the primary itself. */
  async primary(signal?: AbortSignal): Promise<string | null> {
    const address = await this.read(PRIMARY, signal);
    if (address === undefined) await this.check(signal);
    return address ?? null;
  }

  /** Milliseconds; null if nothing is known of the primary. */
  async lag(signal?: AbortSignal): Promise<number | null> {
    const text = await this.read(LAG, signal);
    if (text === undefined) throw await this.problem();
    const lagMs = Number(text);
    return lagMs === LAG_UNKNOWN_MS ? null : lagMs;
  }

  /** Undefined if there is no such database, or nothing is in it yet. */
  async position(database: string, signal?: AbortSignal): Promise<string | undefined> {
    const position = await this.read(`${this.nameOf(database)}${POSITION_SUFFIX}`, signal);
    if (position === undefined) await this.check(signal);
    return position;
  }

  /** Opens the lock file of a database, so that it can be locked. */
  async openLock(database: string): Promise<FileHandle> {
    await this.check();
    const name = this.nameOf(database);
    try {
      return await open(join(this.folder, `${name}${LOCK_SUFFIX}`), 'r+');
    } catch (cause) {
      throw this.lockProblem(name, cause);
    }
  }

  /** A database's path below the mount. It may be given as one that leads there. */
  nameOf(database: string): string {
    const name = isAbsolute(database) ? relative(this.folder, database) : database;
    if (name !== '' && !name.split('/').includes('..')) return name;
    throw new SluiceError(
      'DATABASE_NAME',
      `${JSON.stringify(database)} is no database below ${this.folder}`,
      'Give its path under the mount, like app.db',
    );
  }

  /** Throws unless the folder is a mount of Sluice. */
  async check(signal?: AbortSignal): Promise<void> {
    if ((await this.read(LAG, signal)) === undefined) throw await this.problem();
  }

  /** Undefined if there is no such file. */
  private async read(name: string, signal?: AbortSignal): Promise<string | undefined> {
    try {
      return (await readFile(join(this.folder, name), { encoding: 'utf8', signal })).trim();
    } catch (cause) {
      signal?.throwIfAborted();
      const { code, errno } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR' || errno === ESTALE) return undefined;
      throw this.unreadable(cause);
    }
  }

  /** Why nothing of a mount is there. */
  private async problem(): Promise<SluiceError> {
    const { folder } = this;
    try {
      if ((await stat(folder)).isDirectory()) {
        return new SluiceError(
          'MOUNT_NOT_SLUICE',
          `${folder} is not a mount of Sluice`,
          'Start sluice mount, or name the folder where its databases are',
        );
      }
    } catch (cause) {
      if (errorCode(cause) !== 'ENOENT') return this.unreadable(cause);
    }
    return new SluiceError(
      'MOUNT_MISSING',
      `there is no folder ${folder}`,
      'Start sluice mount, or name another folder',
    );
  }

  private unreadable(cause: unknown): SluiceError {
    const reason = errorCode(cause) ?? String(cause);
    return new SluiceError(
      'MOUNT_UNREADABLE',
      `the mount ${this.folder} cannot be read (${reason})`,
      'See sluice status',
      {
        cause,
      },
    );
  }

  private lockProblem(name: string, cause: unknown): SluiceError {
    const { folder } = this;
    switch (errorCode(cause)) {
      case 'ENOENT':
      case 'ENOTDIR':
        return new SluiceError('DATABASE_MISSING', `there is no database ${name} in ${folder}`, 'Check its name', {
          cause,
        });
      case 'EROFS':
        return new SluiceError(
          'WRITES_READ_ONLY',
          `${name}: the databases in ${folder} are read-only: applications do not write on this replica`,
          'Set mount.locks: sluice in its config, or do this on the primary',
          { cause },
        );
      case 'EACCES':
      case 'EPERM':
        return new SluiceError(
          'WRITES_NOT_ALLOWED',
          `${name}: its lock file may not be opened for writing`,
          'Do this as a user who may write to the database',
          { cause },
        );
      default:
        return this.unreadable(cause);
    }
  }
}
