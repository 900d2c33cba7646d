import { SluiceError } from '../errors.js';
import type { Position } from '../ltx/index.js';
import { compareFiles, type FileKey, formatObjectKey } from './file-names.js';
import type { ManifestFile } from './manifest.js';
import { planRestore } from './restore-plan.js';
import type { StoreFile } from './store.js';

/** The files that lead to a database's newest state, in order; empty if nothing does, or it is not known. Pure. */
export type Way = readonly ManifestFile[];

/** The way to the newest state; empty if there is none. `named` and `newest` tell checksums. */
export function findWay(
  files: readonly (StoreFile | ManifestFile)[],
  named: readonly ManifestFile[],
  newest: Position | undefined,
): Way {
  const checksums = new Map(named.map((file) => [formatObjectKey(file), file.checksum]));
  try {
    return planRestore(files).files.map((file) => {
      const own = 'checksum' in file ? file.checksum : checksums.get(formatObjectKey(file));
      const atEnd = newest !== undefined && file.maxTxid === newest.txid ? newest.checksum : 0n;
      return { ...file, checksum: own ?? atEnd };
    });
  } catch (error) {
    if (error instanceof SluiceError && error.code.startsWith('RESTORE_')) return [];
    throw error;
  }
}

/** Where it leads. */
export function endOf(way: Way): Position | undefined {
  const last = way.at(-1);
  return last && { txid: last.maxTxid, checksum: last.checksum };
}

function isSame(a: FileKey | undefined, b: FileKey): boolean {
  return a !== undefined && compareFiles(a, b) === 0;
}

/** With a file that came. */
export function withFile(way: Way, file: ManifestFile): Way {
  const end = way.at(-1)?.maxTxid;
  const leadsOn = end !== undefined && file.minTxid === end + 1;
  return leadsOn ? [...way, file] : findWay([...way, file], [], undefined);
}

/** With a file in the place of those that it was merged from. */
export function withMerged(way: Way, inputs: readonly FileKey[], output: ManifestFile): Way {
  const at = way.findIndex((file) => isSame(file, inputs[0]!));
  const isThere = at >= 0 && inputs.every((input, i) => isSame(way[at + i], input));
  if (!isThere) return findWay([...way, output], [], undefined);
  return [...way.slice(0, at), output, ...way.slice(at + inputs.length)];
}
