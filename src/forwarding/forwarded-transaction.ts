import { closeSync, fstatSync, openSync } from 'node:fs';
import { SluiceError } from '../errors.js';
import {
  type ByteSource,
  bytesSource,
  checkPageRoom,
  type DatabaseSums,
  fileSource,
  type LtxHeader,
  LtxReader,
  type Position,
  pageChecksum,
  SumsChange,
} from '../ltx/index.js';

/** Pages between two turns of the event loop. */
const SLICE_PAGES = 128;

/** Where a transaction that a replica sent is. */
export type ForwardedFile =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly path: string };

/** What the primary has, before it. */
export interface Ground {
  readonly name: string;
  readonly position: Position;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly sums: DatabaseSums;
}

/** Its header. Throws `LTX_*`. */
export function forwardedHeader(file: ForwardedFile): LtxHeader {
  return withSource(file, (source) => new LtxReader(source).header);
}

/** Whether it begins where the database stands. */
export function followsOn(header: LtxHeader, position: Position): boolean {
  return (
    header.minTxid === header.maxTxid && header.minTxid === position.txid + 1 && header.preApply === position.checksum
  );
}

/**
 * Reads it through: sound, one transaction that follows on, of the same page size, and leading to the checksum that it
 * promises. Throws `FORWARD_STALE`, `FORWARD_BAD`, `LTX_*`.
 */
export async function checkForwarded(file: ForwardedFile, ground: Ground): Promise<LtxHeader> {
  return withSource(file, async (source) => {
    const reader = new LtxReader(source);
    const { header } = reader;
    const { name, position, pageSize } = ground;
    if (!followsOn(header, position)) {
      throw new SluiceError('FORWARD_STALE', `${name}: the primary is at transaction ${position.txid} by now`);
    }
    if (header.pageSize !== pageSize) throw bad(name, 'its page size is another one');
    checkPageRoom(header, source.size, ground.pageCount);
    const change = new SumsChange(ground.sums);
    const page = Buffer.allocUnsafeSlow(pageSize);
    const sum = { high: 0, low: 0 };
    let grown = 0;
    let count = 0;
    for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
      pageChecksum(pgno, page, 0, pageSize, sum);
      change.set(pgno, sum.high, sum.low);
      if (pgno > ground.pageCount) grown++;
      if (++count % SLICE_PAGES === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    reader.finish();
    if (change.checksum(header.commit) !== header.postApply) throw bad(name, 'it does not lead to its checksum');
    // The lock page has no image.
    if (header.commit - ground.pageCount > grown + 1) throw bad(name, 'pages are missing');
    return header;
  });
}

function bad(name: string, what: string): SluiceError {
  return new SluiceError('FORWARD_BAD', `${name}: the transaction cannot be taken: ${what}`);
}

function withSource<T>(file: ForwardedFile, work: (source: ByteSource) => T): T {
  if (file.kind === 'bytes') return work(bytesSource(file.bytes));
  const fd = openSync(file.path, 'r');
  const close = () => closeSync(fd);
  let result: T;
  try {
    result = work(fileSource(fd, 0, fstatSync(fd).size));
  } catch (error) {
    close();
    throw error;
  }
  if (result instanceof Promise) return result.finally(close) as T;
  close();
  return result;
}
