import { existsSync } from 'node:fs';
import { link, rename } from 'node:fs/promises';
import { errorCode } from '../errors.js';

/** How file systems without hard links say so. */
const NO_LINKS = new Set(['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

export interface LinkOptions {
  /** For tests. */
  readonly link?: (existing: string, path: string) => Promise<void>;
  /** Called where there are no hard links. */
  readonly onMissing?: () => void;
}

/**
 * Gives a finished file its name; false if something has that name already, which stays. A link, unlike a rename, fails if
 * a file came into being meanwhile; where a file system has no links the look before the rename has to do. The temporary
 * name may be there afterwards or not.
 */
export async function linkOrRename(temporary: string, path: string, options: LinkOptions = {}): Promise<boolean> {
  try {
    await (options.link ?? link)(temporary, path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST' || existsSync(path)) return false;
    if (!NO_LINKS.has(errorCode(error) ?? '')) throw error;
    await rename(temporary, path);
    options.onMissing?.();
    return true;
  }
}
