import type { Txid } from '../ltx/index.js';
import type { FileKey } from './file-names.js';

/** Files to be read one after the other, all of which begin at or before the TXID behind `txid`. */
export interface VerifyGroup<File extends FileKey> {
  /** Where the files read before lead to; 0 before the first. */
  readonly txid: Txid;
  /** Whole databases first; then the others, that which ends first at the front. */
  readonly files: readonly File[];
  /** Nothing leads on from `txid`: the group begins anew, with a whole database. */
  readonly anew: boolean;
}

/**
 * The order in which a verification reads files, each once: from the oldest whole database on in the smallest steps that
 * there are. With a step come all files that can be checked against the state before it, and the whole databases that
 * lie within, since a restore may begin there. Where a small step leads nowhere, a larger one that was read goes on. Pure; by
 * names alone. `from`: where the files read so far lead to, `ends`: where those of them end that go further.
 */
export function verifyOrder<File extends FileKey>(
  files: readonly File[],
  from: Txid = 0,
  ends: readonly Txid[] = [],
): VerifyGroup<File>[] {
  const images = files
    .filter(({ minTxid }) => minTxid === 1)
    .sort((a, b) => a.maxTxid - b.maxTxid || b.level - a.level);
  const steps = files
    .filter(({ minTxid }) => minTxid > 1)
    .sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
  const groups: VerifyGroup<File>[] = [];
  let txid = from;
  let further = [...ends];
  let image = 0;
  let step = 0;
  const imagesUpTo = (end: Txid): File[] => {
    const start = image;
    while (image < images.length && images[image]!.maxTxid <= end) image++;
    return images.slice(start, image);
  };
  while (image < images.length || step < steps.length) {
    const start = step;
    while (step < steps.length && steps[step]!.minTxid <= txid + 1) step++;
    const near = steps.slice(start, step).sort((a, b) => a.maxTxid - b.maxTxid);
    further = [...further, ...near.map(({ maxTxid }) => maxTxid)].filter((end) => end > txid);
    if (further.length > 0) {
      const reach = near.at(-1)?.maxTxid ?? 0;
      if (near.length > 0) groups.push({ txid, files: [...imagesUpTo(reach), ...near], anew: false });
      txid = further.reduce((min, end) => Math.min(min, end));
    } else if (image < images.length) {
      const end = images[image]!.maxTxid;
      groups.push({ txid, files: [...imagesUpTo(end), ...near], anew: end > txid });
      txid = Math.max(txid, end);
    } else {
      groups.push({ txid, files: [...near, ...steps.slice(step)], anew: false });
      break;
    }
  }
  return groups;
}
