/** What `sluice status --json` and GET /status show. TXIDs and checksums are 16 hex digits; times ISO 8601; sizes bytes. */
export interface NodeStatus {
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
  readonly databases: readonly DatabaseStatus[];
  /** On the primary: who is connected. */
  readonly replicas: readonly ReplicaStatus[];
  /** On a replica: its stream. */
  readonly upstream: UpstreamStatus | null;
  readonly backups: readonly BackupStatus[];
  /** Files under the mount that are not SQLite databases: kept here, not replicated. At most 100 are listed. */
  readonly localFiles: readonly string[];
  readonly localFileCount: number;
  /** What is wrong now, worst first; empty when all is well. */
  readonly problems: readonly Problem[];
}

export interface DatabaseStatus {
  readonly name: string;
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

export interface Problem {
  /** Stable, e.g. `DATABASE_DAMAGED`, `BACKUP_FAILING`, `UPSTREAM_LOST`. */
  readonly code: string;
  /** The database, store or peer concerned. */
  readonly subject: string;
  readonly message: string;
  readonly hint: string;
  readonly since: string;
}
