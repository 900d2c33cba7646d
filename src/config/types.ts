/** The effective configuration: every default filled in, every path absolute, units in the names. Plain JSON. */
export interface Config {
  /** The file that it came from; null when there was none and the defaults hold. */
  readonly file: string | null;
  /** The data folder. */
  readonly data: string;
  readonly mount: MountConfig;
  readonly http: HttpConfig;
  readonly lease: LeaseConfig;
  readonly replication: ReplicationConfig;
  readonly writes: WritesConfig;
  /** Null: no HTTP proxy. */
  readonly proxy: ProxyConfig | null;
  /** The primary's: where a commit must be before it returns. */
  readonly durability: DurabilityConfig;
  /** Empty: no backup. Written while the node is primary; a replica with `upstream: store` follows the first. */
  readonly backup: readonly BackupConfig[];
  /** Whether a node whose data folder has no database restores them all from the first store before it goes on. */
  readonly restore: 'never' | 'if-missing';
  readonly log: LogConfig;
  /** The application to run while mounted, as an argument vector; null for none. */
  readonly exec: readonly string[] | null;
}

export interface MountConfig {
  readonly path: string;
  /** What speaks to the kernel; `auto`: raw as root, else libfuse. A keeper's node is told which. */
  readonly driver: 'auto' | 'raw' | 'libfuse';
  readonly locks: 'auto' | 'kernel' | 'sluice';
  readonly wakeups: 'auto' | 'always' | 'off';
  /** `on`: the kernel writes WALs by itself, where it can. */
  readonly passthrough: 'on' | 'off';
}

export interface HttpConfig {
  /** Null: no HTTP server. */
  readonly listen: ListenAddress | null;
  readonly token: string | null;
  /** GET /health answers 503 on a replica whose lag is greater. */
  readonly healthLagMs: number;
}

export interface LeaseConfig {
  readonly type: 'static';
  readonly role: 'primary' | 'replica';
  /** On a replica: the primary's stream, `ws://host:port` or `wss://…`. Null on the primary. */
  readonly primary: string | null;
  /** What other nodes and applications are told as this node's address; null: the address of `replication.listen`. */
  readonly advertise: string | null;
}

export interface ReplicationConfig {
  /** Null: no replica can connect. */
  readonly listen: ListenAddress | null;
  /** Shared by all nodes: asked of those that connect, shown to the primary. */
  readonly token: string | null;
  readonly retain: { readonly ageMs: number; readonly sizeBytes: number };
  readonly heartbeatMs: number;
  /** What a replica follows: the primary's stream, or the first store, without a word to the primary. */
  readonly upstream: 'primary' | 'store';
}

export interface WritesConfig {
  /**
   * On a replica: whether applications may write, their transactions going to the primary. On a primary: whether it takes
   * those of replicas.
   */
  readonly forward: boolean;
  /** How long an application waits for the primary before it is told that the database is busy. */
  readonly waitMs: number;
  /** How long the write lock is kept for the next transaction of the same node. */
  readonly keepMs: number;
  /** How long a commit waits for the primary's answer; past it its outcome is unknown. */
  readonly commitMs: number;
  /** The primary's: how long one replica may keep the write lock for one transaction after another, and how long at all. */
  readonly turnMs: number;
  readonly holdMs: number;
  /** The primary's: how long a replica may keep it where that was asked for by hand. */
  readonly holdByHandMs: number;
  /** The primary's: a replica that is not heard of for so long loses it. */
  readonly silenceMs: number;
}

export interface ProxyConfig {
  readonly listen: ListenAddress;
  /** The application: `http://host:port`. */
  readonly target: string;
  /** Where the proxies of other nodes reach this one, `http://host:port` or `https://…`; null: they are not told. */
  readonly advertise: string | null;
  /** On a replica: the primary's proxy, whatever the primary says; null: what it says. */
  readonly primary: string | null;
  /** The databases that reads wait for; null: all. */
  readonly databases: readonly string[] | null;
  /** Paths that always go to the application here, without a cookie. */
  readonly passthrough: readonly string[];
  /** Paths that go to the primary whatever the method. */
  readonly alwaysForward: readonly string[];
  /** The answer to writes on a replica, for Fly.io: `instance` (the primary's machine), or a header like `region=fra`; null: none. */
  readonly flyReplay: string | null;
  /** Whether X-Forwarded-* of clients are believed: something before the proxy sets them. */
  readonly trustForwarded: boolean;
  /** How long a read waits for its own writes, and what comes then. */
  readonly waitMs: number;
  readonly afterWait: 'primary' | '504';
  /** How long a request waits for a primary. */
  readonly primaryWaitMs: number;
  /** How long an answer to a write waits until its positions are known. */
  readonly settleMs: number;
  readonly connectMs: number;
  /** From the end of a request to the head of its answer. */
  readonly responseMs: number;
  /** Connections without a request, and bodies that do not move. */
  readonly idleMs: number;
  /** How long requests under way may take at a stop. */
  readonly drainMs: number;
  readonly maxConnections: number;
  readonly cookie: { readonly name: string; readonly maxAgeMs: number; readonly secure: boolean };
  /** The same as the cookie, as a header, in lower case. */
  readonly header: string;
}

/** Where a commit must be before it returns, beside this machine. */
export interface DurabilityRule {
  /** `replicas`: so many of them have applied it. `backup`: the first store has it. */
  readonly until: 'local' | 'replicas' | 'backup';
  /** With `replicas`: how many, from 1; else 0. */
  readonly replicas: number;
  readonly timeoutMs: number;
  /** `degrade`: the commit returns, and those after it at once until the others are there again. `refuse`: it fails, and is undone. */
  readonly onTimeout: 'degrade' | 'refuse';
}

/** What holds for all databases, and in order what holds for some: by name, or a pattern with `*` and `**`. */
export interface DurabilityConfig extends DurabilityRule {
  readonly databases: readonly (DurabilityRule & { readonly pattern: string })[];
}

export interface BackupConfig {
  /** `file:///absolute/folder` or `s3://bucket/path`. */
  readonly url: string;
  /** How long transactions are collected for a file of level 0. */
  readonly intervalMs: number;
  /** After how long files of the level below are merged into one: of level 1, 2, … Growing. */
  readonly levelsMs: readonly number[];
  /** How often the whole database is stored, if it changed. */
  readonly snapshotMs: number;
  readonly retain: {
    /** Every moment within it can be restored. */
    readonly ageMs: number;
    /** So many snapshots stay at least. */
    readonly snapshots: number;
    /** How long files of level 0 stay after they were merged. */
    readonly fineMs: number;
  };
  /** How often a restore is tried; null: never. */
  readonly verifyMs: number | null;
  /** Path of the key that files are encrypted with; null: they are not. */
  readonly keyFile: string | null;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly profile?: string;
  readonly sse?: 'AES256' | 'aws:kms';
  readonly sseKeyId?: string;
  readonly caFile?: string;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LogConfig {
  readonly level: LogLevel;
  /** `auto`: pretty on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
}

export interface ListenAddress {
  /** A host name or an IP address without brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}
