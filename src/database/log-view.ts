import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseTxid, type Txid } from '../ltx/index.js';
import { folderInMeta } from './data-folder.js';
import { LogSegment } from './log-segment.js';
import { SEGMENT_NAME } from './transaction-log.js';
import type { LoggedTransaction } from './types.js';

/**
 * The transactions in a database's log below a data folder, by TXID, perhaps with gaps, without changing anything: a node may
 * be writing there. What it prunes meanwhile is not there any more when it is read. Undefined if there is no such database.
 */
export function viewLog(dataFolder: string, name: string): LoggedTransaction[] | undefined {
  const folder = join(dataFolder, 'meta', folderInMeta(name));
  if (!existsSync(folder)) return undefined;
  const names = readdirSync(folder).filter((file) => SEGMENT_NAME.test(file));
  return names.sort().flatMap((file) => viewSegment(join(folder, file), parseTxid(file.slice(0, 16))));
}

function viewSegment(path: string, firstTxid: Txid): LoggedTransaction[] {
  let segment: LogSegment;
  try {
    segment = LogSegment.view(path, firstTxid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // pruned
    throw error;
  }
  const found: LoggedTransaction[] = [];
  for (let txid = firstTxid; txid <= segment.lastTxid; txid++) {
    found.push({ txid, path, offset: segment.offsetOf(txid), size: segment.sizeOf(txid) });
  }
  segment.release();
  return found;
}
