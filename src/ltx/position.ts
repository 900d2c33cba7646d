import { SluiceError } from '../errors.js';

/** A transaction id: 1 for the first transaction of a database, one more for each. 0 means "none yet". */
export type Txid = number;

/** A 64-bit database or file checksum; bit 63 is set unless it is 0n, "none". */
export type Checksum = bigint;

/** Where a database stands: its last transaction and the rolling checksum of its pages after it. */
export interface Position {
  readonly txid: Txid;
  readonly checksum: Checksum;
}

export const CHECKSUM_FLAG = 1n << 63n;

/** The position of a database that has no transaction yet. */
export const ZERO_POSITION: Position = Object.freeze({ txid: 0, checksum: 0n });

/** 16 lower-case hex digits. */
export function formatTxid(txid: Txid): string {
  return txid.toString(16).padStart(16, '0');
}

/** Reads 16 hex digits; throws `LTX_TXID` for anything else, or for a number over 2^53 - 1. */
export function parseTxid(text: string): Txid {
  const value = /^[0-9a-fA-F]{16}$/.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new SluiceError('LTX_TXID', `invalid TXID: ${JSON.stringify(text)}`);
  return value;
}

/** 16 lower-case hex digits. */
export function formatChecksum(checksum: Checksum): string {
  return checksum.toString(16).padStart(16, '0');
}

/** Reads 16 hex digits; throws `LTX_CHECKSUM_TEXT` for anything else. */
export function parseChecksum(text: string): Checksum {
  if (!/^[0-9a-fA-F]{16}$/.test(text)) {
    throw new SluiceError('LTX_CHECKSUM_TEXT', `invalid checksum: ${JSON.stringify(text)}`);
  }
  return BigInt(`0x${text}`);
}

/** `TXID/checksum`, as in the `<db>-pos` file. */
export function formatPosition(position: Position): string {
  return `${formatTxid(position.txid)}/${formatChecksum(position.checksum)}`;
}

/** Reads `TXID/checksum`. */
export function parsePosition(text: string): Position {
  const [txid = '', checksum = ''] = text.trim().split('/');
  return { txid: parseTxid(txid), checksum: parseChecksum(checksum) };
}

export function samePosition(a: Position, b: Position): boolean {
  return a.txid === b.txid && a.checksum === b.checksum;
}
