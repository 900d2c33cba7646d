/** What `sluice status --json` and GET /status show. TXIDs and checksums are 16 hex digits; times ISO 8601; sizes bytes. */
export interface NodeStatus extends NodeState {
  /** Files under the mount that are not SQLite databases: kept here, not replicated. At most 100 are listed. */
  readonly localFiles: readonly string[];
  readonly localFileCount: number;
}

/** All of it that is known without looking at the disk. */
export interface NodeState {
  readonly version: string;
  readonly nodeId: string;
  readonly role: 'primary' | 'replica';
  /** The primary's advertised address; on the primary its own. Null while unknown. */
  readonly primary: string | null;
  readonly ready: boolean;
  readonly startedAt: string;
  readonly mount: string;
  readonly data: string;
  readonly locks: 'kernel' | 'sluice';
  /** Whether the kernel writes WALs by itself, without a request for each write. */
  readonly passthrough: boolean;
  /** What the kernel asked of this process by operation (`WRITE`, `LOOKUP`…), since it started; only what occurred. */
  readonly requests: Readonly<Record<string, number>>;
  readonly databases: readonly DatabaseStatus[];
  /** On the primary: who is connected. */
  readonly replicas: readonly ReplicaStatus[];
  /** On a replica: its stream. */
  readonly upstream: UpstreamStatus | null;
  readonly backups: readonly BackupStatus[];
  /** What is wrong now, worst first; empty when all is well. */
  readonly problems: readonly Problem[];
}

export interface DatabaseStatus {
  readonly name: string;
  /** `damaged`: it has a problem with which it should not be used; `behind`: on a replica, by over a second or unknown. */
  readonly state: 'ok' | 'behind' | 'damaged';
  readonly txid: string;
  readonly checksum: string;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly sizeBytes: number;
  readonly journalMode: 'wal' | 'rollback';
  readonly walBytes: number;
  /** On a replica: how old what it shows is. Null on the primary, or if unknown. */
  readonly lagMs: number | null;
  readonly log: { readonly first: string; readonly last: string; readonly bytes: number };
  /** On the primary: where its commits have to be before they return. Null on a replica. */
  readonly durability: DurabilityStatus | null;
  /** On the primary: the id of the replica whose applications have its write lock now; null if none has. */
  readonly writer: string | null;
}

export interface DurabilityStatus {
  readonly until: 'local' | 'replicas' | 'backup';
  /** With `replicas`: how many; else 0. */
  readonly replicas: number;
  readonly onTimeout: 'degrade' | 'refuse';
  /** Since when commits return without waiting, as the others did not answer in time; null if they wait. */
  readonly degradedSince: string | null;
  /** Since when commits fail for it; null if they do not. */
  readonly refusingSince: string | null;
  /** How long a commit has been waiting that does so now; null if none does. */
  readonly waitingMs: number | null;
  /** Commits of this process that returned without being where they should be; those that failed for it. */
  readonly degraded: number;
  readonly refused: number;
}

export interface ReplicaStatus {
  readonly nodeId: string;
  readonly address: string;
  readonly connectedAt: string;
  readonly lagMs: number | null;
  readonly bufferedBytes: number;
  readonly databases: readonly {
    readonly name: string;
    readonly txid: string;
    readonly state: 'live' | 'catching-up' | 'snapshot' | 'stuck';
  }[];
}

export interface UpstreamStatus {
  readonly url: string;
  readonly connected: boolean;
  readonly lastHeartbeatAt: string | null;
  readonly lagMs: number | null;
  readonly lastError: string | null;
}

export interface BackupStatus {
  readonly url: string;
  readonly lastUploadAt: string | null;
  readonly lastError: string | null;
  readonly databases: readonly { readonly name: string; readonly txid: string; readonly lagMs: number }[];
}

/** What is asked of `POST /backup`. */
export interface BackupRequest {
  /** Whole databases too, of those that moved on since their last snapshot. */
  readonly snapshot: boolean;
}

/** What came of storing all that there is now; what `POST /backup` answers, for each store. */
export interface BackupRun extends BackupStatus {
  /** Everything that was there when it was asked for is stored. */
  readonly complete: boolean;
}

export interface Problem {
  /** Stable, e.g. `DATABASE_DAMAGED`, `BACKUP_FAILING`, `UPSTREAM_LOST`. */
  readonly code: string;
  /** The database, store or peer concerned. */
  readonly subject: string;
  readonly message: string;
  readonly hint: string;
  readonly since: string;
}

/**
 * Problems with which what a node serves may be wrong or cannot go on, so that it should get no traffic:
 *
 *     DATABASE_DAMAGED   the file is no SQLite database any more
 *     RECOVERY_FAILED    it could not be brought to where it was at the start
 *     REPLICA_FAILED     a replica cannot apply what comes
 *
 * With others (LOG_WRITE, CAPTURE_FAILED, a failing backup) applications read and commit as before; with REPLICA_UNKNOWN they read
 * an older state, or one that the primary may not have. How far a replica is
 * behind when its stream fails is told by its lag.
 */
const UNFIT: ReadonlySet<string> = new Set(['DATABASE_DAMAGED', 'RECOVERY_FAILED', 'REPLICA_FAILED']);

export function isUnfit(problem: { readonly code: string }): boolean {
  return UNFIT.has(problem.code);
}
