import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, SluiceError } from '../errors.js';
import { syncPath } from '../sync-path.js';
import { type LinkOptions, linkOrRename } from './link.js';
import type { StoredManifest } from './store.js';

const NAME = /^manifest-([0-9a-f]{12})\.json$/;
/** A version may give way to the next between the listing and the reading. */
const READ_LIMIT = 20;

/**
 * A manifest in a folder. Each version is a file `manifest-<12 hex digits>.json`, one higher than the one before; the
 * highest counts. Who makes the file of a number first has replaced the version before it, since a link fails where there
 * is a file: that is all the locking there is. A tag is the number.
 */
export class FileManifest {
  constructor(
    private readonly folder: string,
    private readonly links: LinkOptions = {},
  ) {}

  async read(known?: string): Promise<StoredManifest | 'same' | undefined> {
    for (let reads = 1; ; reads++) {
      const version = (await this.versions()).at(-1);
      if (version === undefined) return undefined;
      const tag = String(version);
      if (tag === known) return 'same';
      try {
        return { bytes: await readFile(this.path(version)), tag };
      } catch (error) {
        if (errorCode(error) !== 'ENOENT' || reads === READ_LIMIT) throw error;
      }
    }
  }

  /** Throws `STORE_CONFLICT`. */
  async write(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    const before = await this.versions();
    if ((before.at(-1) ?? 0) !== Number(previous ?? 0)) throw this.conflict();
    const version = Number(previous ?? 0) + 1;
    const temporary = join(this.folder, `manifest.${randomBytes(4).toString('hex')}.tmp`);
    try {
      await writeDurably(temporary, bytes);
      if (!(await linkOrRename(temporary, this.path(version), this.links))) throw this.conflict();
    } finally {
      await rm(temporary, { force: true });
    }
    // A version this old may have been made and removed by others meanwhile: then there is a higher one.
    const after = await this.versions();
    if (after.at(-1) !== version) {
      await rm(this.path(version), { force: true });
      throw this.conflict();
    }
    await syncPath(this.folder);
    for (const old of after) if (old < version) await rm(this.path(old), { force: true });
    return String(version);
  }

  /** Their numbers, ascending. */
  private async versions(): Promise<number[]> {
    const names = await readdir(this.folder).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    });
    const numbers = names.flatMap((name) => {
      const match = NAME.exec(name);
      return match === null ? [] : [Number.parseInt(match[1]!, 16)];
    });
    return numbers.sort((a, b) => a - b);
  }

  private path(version: number): string {
    return join(this.folder, `manifest-${version.toString(16).padStart(12, '0')}.json`);
  }

  private conflict(): SluiceError {
    return new SluiceError('STORE_CONFLICT', `the manifest in ${this.folder} was replaced by another writer`);
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
