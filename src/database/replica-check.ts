import { SluiceError } from '../errors.js';
import {
  type ByteSource,
  type Checksum,
  checkPageRoom,
  DatabaseSums,
  type LtxHeader,
  LtxReader,
  lockPage,
  pageChecksum,
  SumsChange,
} from '../ltx/index.js';
import type { WalIndexHeader } from '../sqlite/index.js';
import type { Database } from './database.js';
import { PageImages } from './page-images.js';
import { nextTurn, WalFile } from './wal-file.js';

/** Pages between two turns of the event loop. */
const SLICE_PAGES = 128;

/** What is to be known of a database that a file is to lead on from. */
export type CheckedDatabase = Pick<Database, 'name' | 'position' | 'pageSize' | 'pageCount' | 'sums'>;

/** A database whose files may be looked at. */
export type CheckedFile = Pick<Database, 'path' | 'pageSize' | 'pageCount' | 'sums'>;

/** A transaction that may be applied. */
export interface CheckedTransaction {
  readonly header: LtxHeader;
  /** The database's with it. */
  readonly checksum: Checksum;
  readonly pages: readonly number[];
  /** Takes it into the table, or into a new one, which it returns: it is applied. */
  takeSums(): DatabaseSums;
}

/**
 * Reads the transaction through: it must follow the position, be sound, and lead to the checksum that it promises.
 * `stored`: it comes from a store, where a file may hold several transactions, also some that are here already, since
 * pages are whole images; and where it may promise no checksum (Litestream's).
 */
export async function checkTransaction(
  database: CheckedDatabase,
  isKnown: boolean,
  source: ByteSource,
  stored: boolean,
): Promise<CheckedTransaction> {
  const reader = new LtxReader(source);
  const { header } = reader;
  if (stored) mustLeadOn(database, isKnown, header);
  else mustFollow(database, isKnown, header);
  checkPageRoom(header, source.size, database.position.txid === 0 ? 0 : database.pageCount);
  const sums = database.position.txid === 0 ? new DatabaseSums(header.pageSize) : database.sums;
  const change = new SumsChange(sums);
  const pages: number[] = [];
  const words: number[] = [];
  const page = Buffer.allocUnsafeSlow(header.pageSize);
  const sum = { high: 0, low: 0 };
  for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
    pageChecksum(pgno, page, 0, header.pageSize, sum);
    change.set(pgno, sum.high, sum.low);
    pages.push(pgno);
    words.push(sum.high, sum.low);
    if (pages.length % SLICE_PAGES === 0) await nextTurn();
  }
  reader.finish();
  const checksum = change.checksum(header.commit);
  if (checksum !== header.postApply && header.postApply !== 0n) {
    throw new SluiceError(
      'REPLICA_DIVERGED',
      `${database.name}: transaction ${header.maxTxid} does not lead to the checksum that the primary has`,
      'A snapshot takes its place',
    );
  }
  const takeSums = () => {
    for (let i = 0; i < pages.length; i++) sums.set(pages[i]!, words[2 * i]!, words[2 * i + 1]!);
    if (sums.pageCount < header.commit) sums.set(header.commit, 0, 0);
    sums.truncate(header.commit);
    return sums;
  };
  return { header, checksum, pages, takeSums };
}

function mustFollow(database: CheckedDatabase, isKnown: boolean, header: LtxHeader): void {
  const { position, name, pageSize } = database;
  if (!isKnown && position.txid > 0) throw gap(name, 'its own state is not known');
  if (header.minTxid !== position.txid + 1) {
    throw gap(name, `transaction ${header.minTxid} does not follow ${position.txid}`);
  }
  if (position.txid > 0 && header.preApply !== position.checksum) {
    throw gap(name, `transaction ${header.minTxid} belongs to another history`);
  }
  if (position.txid > 0 && header.pageSize !== pageSize) throw gap(name, 'the page size is another one');
  mustPromise(name, header);
}

/** Begins at or before the next transaction, and ends with it or later. */
function mustLeadOn({ position, name, pageSize }: CheckedDatabase, isKnown: boolean, header: LtxHeader): void {
  const { minTxid, maxTxid, preApply } = header;
  if (!isKnown && position.txid > 0) throw gap(name, 'its own state is not known');
  if (minTxid > position.txid + 1 || maxTxid <= position.txid) {
    throw gap(name, `transactions ${minTxid} to ${maxTxid} do not lead on from ${position.txid}`);
  }
  if (position.txid === 0) return;
  if (minTxid === position.txid + 1 && preApply !== 0n && preApply !== position.checksum) {
    throw gap(name, `transaction ${minTxid} belongs to another history`);
  }
  if (header.pageSize !== pageSize) throw gap(name, 'the page size is another one');
}

/** Reads a whole image through: it must be sound, and have the checksum that it promises. `stored`: it may promise none. */
export async function checkImage(
  name: string,
  source: ByteSource,
  stored: boolean,
): Promise<{ readonly header: LtxHeader; readonly checksum: Checksum; readonly sums: DatabaseSums }> {
  const reader = new LtxReader(source);
  const { header } = reader;
  if (header.minTxid !== 1) throw new SluiceError('LTX_HEADER', `${name}: what should be a snapshot is not one`);
  if (!stored) mustPromise(name, header);
  checkPageRoom(header, source.size, 0);
  const sums = new DatabaseSums(header.pageSize);
  const page = Buffer.allocUnsafeSlow(header.pageSize);
  const sum = { high: 0, low: 0 };
  let count = 0;
  for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
    pageChecksum(pgno, page, 0, header.pageSize, sum);
    sums.set(pgno, sum.high, sum.low);
    if (++count % SLICE_PAGES === 0) await nextTurn();
  }
  reader.finish();
  if (sums.pageCount < header.commit) sums.set(header.commit, 0, 0);
  const checksum = sums.checksum();
  if (checksum === header.postApply || header.postApply === 0n) return { header, checksum, sums };
  throw new SluiceError('REPLICA_DIVERGED', `${name}: the snapshot does not have the checksum that it promises`);
}

/** Without it a wrong page would never be found. A primary always gives it. */
function mustPromise(name: string, { postApply, maxTxid }: LtxHeader): void {
  if (postApply !== 0n) return;
  const text = `${name}: transaction ${maxTxid} does not say what checksum the database has after it`;
  throw new SluiceError('LTX_NO_CHECKSUM', text, 'A snapshot takes its place; check that the primary is Sluice');
}

/** What comes does not go on from what is here. */
export function gap(name: string, text: string): SluiceError {
  return new SluiceError('REPLICA_GAP', `${name}: ${text}`, 'A snapshot takes its place');
}

/**
 * How many of these pages (undefined: all) have other checksums than they have to have. `wal`: as its wal-index has it, undefined
 * if there is none. Undefined if the WAL has become another one meanwhile.
 */
export async function wrongPages(
  database: CheckedFile,
  pages: Uint32Array | undefined,
  wal: WalIndexHeader | undefined,
): Promise<number | undefined> {
  if (wal === undefined || wal.frames === 0) return countWrong(database, pages);
  const file = WalFile.open(`${database.path}-wal`);
  if (file === undefined) return undefined;
  try {
    if (file.header.salt1 !== wal.salt1 || file.header.salt2 !== wal.salt2) return undefined;
    const newest = await file.newestFrames(0, wal.frames);
    const wrong = await countWrong(database, pages, { file, newest });
    return file.isCurrent ? wrong : undefined;
  } finally {
    file.close();
  }
}

async function countWrong(
  { path, sums, pageCount, pageSize }: CheckedFile,
  pages: Uint32Array | undefined,
  overlay?: { readonly file: WalFile; readonly newest: ReadonlyMap<number, number> },
): Promise<number> {
  const lock = lockPage(pageSize);
  const images = new PageImages(path, pageSize, overlay);
  try {
    const page = Buffer.allocUnsafe(pageSize);
    const sum = { high: 0, low: 0 };
    let wrong = 0;
    const count = pages?.length ?? pageCount;
    for (let i = 0; i < count; i++) {
      const pgno = pages?.[i] ?? i + 1;
      if (pgno > pageCount || pgno === lock) continue;
      images.read(pgno, page, 0);
      pageChecksum(pgno, page, 0, pageSize, sum);
      if (sum.high !== sums.getHigh(pgno) || sum.low !== sums.getLow(pgno)) wrong++;
      if (i % SLICE_PAGES === SLICE_PAGES - 1) await nextTurn();
    }
    return wrong;
  } finally {
    images.close();
  }
}
