import type { RestoreResult, RestoreWay, StateAtTime, StoreFile, UnfitFile } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { formatChecksum, formatTxid, type Txid } from '../src/ltx/index.js';
import { formatTable, visible } from './table.js';

/** What a restore has to say of the state it chose. */
interface Chosen {
  readonly exact: boolean;
  readonly nextTxid: Txid | undefined;
  readonly time: StateAtTime | undefined;
  readonly leftOut: readonly UnfitFile[];
}

/** What was restored, in lines for a person. */
export function resultLines(result: RestoreResult, checked: boolean, where: string): string[] {
  const { txid, timestampMs, sizeBytes, files, checksum } = result;
  const how = checksum === 0n ? 'each file is whole (they name no database checksums)' : 'checksums are right';
  const check = checked && result.unchecked === undefined ? ', and SQLite finds it whole' : '';
  return [
    `${visible(where)}: ${formatSize(sizeBytes)} at TXID ${formatTxid(txid)} of ${formatTime(timestampMs)}, from ${files} files; ${how}${check}`,
    ...(result.unchecked === undefined
      ? []
      : [`SQLite could not check it, for lack of what the application brings: ${visible(result.unchecked)}`]),
    ...choiceLines(result),
  ];
}

export function resultJson(result: RestoreResult, checked: boolean): object {
  return {
    output: result.output,
    txid: formatTxid(result.txid),
    ...choiceJson(result),
    checksum: formatChecksum(result.checksum),
    time: formatTime(result.timestampMs),
    pageSize: result.pageSize,
    pageCount: result.pageCount,
    sizeBytes: result.sizeBytes,
    files: result.files,
    readBytes: result.readBytes,
    checked: checked && result.unchecked === undefined,
    ...(result.unchecked !== undefined && { unchecked: result.unchecked }),
  };
}

/** What would be read. */
export function planLines(way: RestoreWay, requests: number): string[] {
  const rows = way.files.map((file) => [
    String(file.level),
    formatTxid(file.minTxid),
    formatTxid(file.maxTxid),
    formatSize(file.sizeBytes),
    formatTime(file.timeMs),
  ]);
  const bytes = formatSize(totalBytes(way.files));
  return [
    ...formatTable(['LEVEL', 'FROM TXID', 'TO TXID', 'SIZE', 'STORED'], rows),
    `to TXID ${formatTxid(way.txid)}: ${way.files.length} files, ${bytes}, ${requests} requests; nothing was restored`,
    ...choiceLines(way),
  ];
}

export function planJson(way: RestoreWay, requests: number): object {
  return {
    txid: formatTxid(way.txid),
    ...choiceJson(way),
    bytes: totalBytes(way.files),
    requests,
    files: way.files.map((file) => ({ ...fileJson(file), sizeBytes: file.sizeBytes, stored: formatTime(file.timeMs) })),
  };
}

function choiceLines({ exact, nextTxid, time, leftOut }: Chosen): string[] {
  const lines: string[] = [];
  if (!exact) {
    const next = nextTxid === undefined ? '' : `; the next one there is ${formatTxid(nextTxid)}`;
    lines.push(
      `the backup does not have the TXID asked for by itself: this is the nearest before it${next} (on the node's machine, --data FOLDER finds it if it is still in the log)`,
    );
  }
  if (time !== undefined) {
    const { state, next, clockWentBack } = time;
    const after =
      next === undefined
        ? 'there is none after it'
        : `the next one is TXID ${formatTxid(next.txid)} of ${formatTime(next.timestampMs)}`;
    lines.push(`the newest state at or before that time is of ${formatTime(state.timestampMs)}; ${after}`);
    if (clockWentBack) {
      lines.push('the clock of the primary was set back about then: other states may be of that time too; see --txid');
    }
  }
  for (const { file, why } of leftOut) {
    const name = `level ${file.level}, ${formatTxid(file.minTxid)}-${formatTxid(file.maxTxid)}.ltx`;
    lines.push(`not used: ${name}: ${visible(why)}`);
  }
  return lines;
}

function choiceJson({ exact, nextTxid, time, leftOut }: Chosen): object {
  return {
    exact,
    nextTxid: nextTxid === undefined ? null : formatTxid(nextTxid),
    nextTime: time?.next === undefined ? null : formatTime(time.next.timestampMs),
    ...(time !== undefined && { clockWentBack: time.clockWentBack }),
    leftOut: leftOut.map(({ file, why }) => ({ ...fileJson(file), why })),
  };
}

function fileJson(file: StoreFile): object {
  return { level: file.level, minTxid: formatTxid(file.minTxid), maxTxid: formatTxid(file.maxTxid) };
}

function totalBytes(files: readonly StoreFile[]): number {
  return files.reduce((sum, file) => sum + file.sizeBytes, 0);
}

function formatTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString();
}
