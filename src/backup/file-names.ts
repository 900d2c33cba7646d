import { formatTxid, parseTxid, type Txid } from '../ltx/index.js';

/** Level 0: what was uploaded at each sync. 1 to 8: compactions of it. */
export const LEVEL_INCREMENT = 0;
/** Level 9: whole databases, min TXID 1. */
export const LEVEL_SNAPSHOT = 9;

/** One LTX file's place in a store. */
export interface FileKey {
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** `<min16>-<max16>.ltx`, lower-case hex. */
export function formatFileName(key: FileKey): string {
  return `${formatTxid(key.minTxid)}-${formatTxid(key.maxTxid)}.ltx`;
}

/** The TXIDs in a file's name; undefined for anything that is not exactly `<min16>-<max16>.ltx`. */
export function parseFileName(name: string): { minTxid: Txid; maxTxid: Txid } | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(name);
  if (match === null) return undefined;
  const minTxid = parseTxidOrZero(match[1]!);
  const maxTxid = parseTxidOrZero(match[2]!);
  return minTxid >= 1 && maxTxid >= minTxid ? { minTxid, maxTxid } : undefined;
}

/** Relative to a database's place in a bucket: `<level, 4 hex digits>/<min16>-<max16>.ltx`. */
export function formatObjectKey(key: FileKey): string {
  return `${formatObjectLevel(key.level)}/${formatFileName(key)}`;
}

/** The level's folder in a bucket, 4 hex digits. */
export function formatObjectLevel(level: number): string {
  return level.toString(16).padStart(4, '0');
}

/** The inverse of `formatObjectKey`; undefined for any other object. */
export function parseObjectKey(key: string): FileKey | undefined {
  const match = /^000([0-9])\/([^/]+)$/.exec(key);
  const range = match === null ? undefined : parseFileName(match[2]!);
  return range && { level: Number(match![1]), ...range };
}

/** Relative to a database's folder: `ltx/<level, decimal>/<min16>-<max16>.ltx`. */
export function formatFilePath(key: FileKey): string {
  return `ltx/${key.level}/${formatFileName(key)}`;
}

/** How an error names a file: `level 0, 0000000000000002-0000000000000005.ltx`. */
export function describeFile(key: FileKey): string {
  return `level ${key.level}, ${formatFileName(key)}`;
}

/** By level, then min TXID, then max TXID: the order of a listing. */
export function compareFiles(a: FileKey, b: FileKey): number {
  return a.level - b.level || a.minTxid - b.minTxid || a.maxTxid - b.maxTxid;
}

/** 0 for a number over 2^53 - 1, which no Sluice or Litestream history reaches. */
function parseTxidOrZero(text: string): Txid {
  try {
    return parseTxid(text);
  } catch {
    return 0;
  }
}
