import { formatDuration, formatSize } from '../src/config/index.js';
import type { DurabilityStatus, NodeStatus } from '../src/status.js';
import { formatTable, visible } from './table.js';

const MAX_LOCAL_FILES_SHOWN = 5;

/** A node's state for people. */
export function formatStatus(status: NodeStatus, nowMs: number): string {
  return [summary(status, nowMs), databases(status), replicas(status), backups(status, nowMs), rest(status)]
    .filter((part) => part.length > 0)
    .map((part) => part.join('\n'))
    .join('\n\n');
}

function summary(status: NodeStatus, nowMs: number): string[] {
  const upMs = nowMs - Date.parse(status.startedAt);
  const lines = [
    `${status.role} ${status.nodeId}  ${status.ready ? 'ready' : 'not ready'}, up ${formatDuration(upMs)}, sluice ${status.version}`,
    `mount    ${status.mount} (${status.locks} locks${status.passthrough ? ', WALs written by the kernel' : ''})`,
    `data     ${status.data}`,
    `primary  ${status.primary ?? 'unknown'}`,
  ];
  if (status.upstream !== null) {
    const { url, connected, lagMs, lastError } = status.upstream;
    const state = connected
      ? `connected, lag ${lag(lagMs)}`
      : `not connected${lastError === null ? '' : `: ${lastError}`}`;
    lines.push(`stream   ${url} (${state})`);
  }
  return lines;
}

function databases(status: NodeStatus): string[] {
  if (status.databases.length === 0) return ['no databases yet: create one under the mount'];
  const isAwaited = status.databases.some((db) => isWaitedFor(db.durability));
  return formatTable(
    [
      'DATABASE',
      'STATE',
      'POSITION',
      'SIZE',
      'JOURNAL',
      'WAL',
      'LAG',
      'LOG',
      ...(isAwaited ? ['COMMITS WAIT FOR'] : []),
    ],
    status.databases.map((db) => [
      db.name,
      db.state,
      `${shortTxid(db.txid)}/${db.checksum}`,
      formatSize(db.sizeBytes),
      db.journalMode,
      formatSize(db.walBytes),
      lag(db.lagMs),
      `${shortTxid(db.log.first)}..${shortTxid(db.log.last)}, ${formatSize(db.log.bytes)}`,
      ...(isAwaited ? [waitedFor(db.durability)] : []),
    ]),
  );
}

/** A node of an older version says nothing of it. */
function isWaitedFor(durability: DurabilityStatus | null | undefined): durability is DurabilityStatus {
  return durability !== null && durability !== undefined && durability.until !== 'local';
}

/** What commits of a database wait for, and what comes of it. */
function waitedFor(durability: DurabilityStatus | null | undefined): string {
  if (!isWaitedFor(durability)) return '-';
  const { until, replicas, degradedSince, refusingSince, waitingMs, degraded, refused } = durability;
  const parts = [until === 'backup' ? 'the backup' : `${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`];
  if (refusingSince !== null) parts.push('they fail now');
  else if (degradedSince !== null) parts.push('degraded, they do not wait now');
  if (waitingMs !== null) parts.push(`one for ${formatDuration(waitingMs)}`);
  if (degraded > 0) parts.push(`${degraded} returned without`);
  if (refused > 0) parts.push(`${refused} failed`);
  return parts.join('; ');
}

function replicas(status: NodeStatus): string[] {
  if (status.replicas.length === 0) return [];
  return formatTable(
    ['REPLICA', 'ADDRESS', 'LAG', 'BUFFERED', 'DATABASES'],
    status.replicas.map((replica) => [
      replica.nodeId,
      replica.address,
      lag(replica.lagMs),
      formatSize(replica.bufferedBytes),
      replica.databases.map((db) => `${db.name} ${shortTxid(db.txid)} ${db.state}`).join(', '),
    ]),
  );
}

function backups(status: NodeStatus, nowMs: number): string[] {
  if (status.backups.length === 0) return [];
  return formatTable(
    ['BACKUP', 'LAST UPLOAD', 'DATABASES', 'ERROR'],
    status.backups.map((backup) => [
      backup.url,
      backup.lastUploadAt === null ? 'never' : `${formatDuration(nowMs - Date.parse(backup.lastUploadAt))} ago`,
      backup.databases.map((db) => `${db.name} ${shortTxid(db.txid)} (lag ${lag(db.lagMs)})`).join(', '),
      backup.lastError ?? '',
    ]),
  );
}

function rest(status: NodeStatus): string[] {
  const lines: string[] = [];
  if (status.localFileCount > 0) {
    const shown = status.localFiles.slice(0, MAX_LOCAL_FILES_SHOWN).join(', ');
    const more = status.localFileCount - Math.min(status.localFiles.length, MAX_LOCAL_FILES_SHOWN);
    lines.push(visible(`files that are no databases, kept here only: ${shown}${more > 0 ? ` and ${more} more` : ''}`));
  }
  for (const problem of status.problems) {
    lines.push(
      visible(`problem: ${problem.subject}: ${problem.message}${problem.hint === '' ? '' : `. ${problem.hint}`}`),
    );
  }
  return lines;
}

function lag(lagMs: number | null): string {
  return lagMs === null ? '-' : formatDuration(lagMs);
}

/** A TXID without its leading zeros: `000000000000002a` is `2a`. */
function shortTxid(txid: string): string {
  return txid.replace(/^0+(?=.)/, '');
}
