import type { DurabilityConfig } from './config/index.js';
import type { CommitState, Database, MountServer, Recovered } from './database/index.js';
import type { FromWorker } from './database/worker-messages.js';
import type { Told, Word } from './proxy/index.js';
import type {
  BackupRequest,
  BackupRun,
  BackupStatus,
  DurabilityStatus,
  Problem,
  ReplicaStatus,
  UpstreamStatus,
} from './status.js';

/** What a role knows for the HTTP proxy. */
export interface ProxiedRole {
  /** The run of the primary whose positions these are; null while it is not known. */
  lineage(): bigint | null;
  /** Where the primary's proxy is; null while it is not known. */
  primary(): string | null;
  /** What readers of the mount see. */
  positions(): Iterable<Told>;
  /** Of one database; 0 if it is not there. */
  txid(name: string): number;
  /** On a replica of a primary. */
  word(): Word | undefined;
  /** Resolves when `txid` has all that was committed before the call; false if that cannot be said. */
  settle(databases: readonly string[] | null): Promise<boolean>;
  /** `moved` is called when a database moved, or, without a name, when something else changed. Before `begin`. */
  watch(moved: (name?: string) => void): void;
}

/** What a node does that depends on its being primary or replica. In the order in which the node calls it. */
export interface NodeRole {
  readonly role: 'primary' | 'replica';
  /** On a replica: whether applications write. */
  readonly writes: boolean;
  /** Before the mount answers. `live`: applications may have files open. */
  recover(live: boolean): Promise<readonly Recovered[]>;
  /** Where commits may have to wait until they are on other machines. */
  readonly commits: { readonly rules: DurabilityConfig; readonly state: CommitState } | undefined;
  /** Names and slots for the fuse worker. */
  slots(): { name: string; slot: number }[];
  /**
   * The mount answers from now on. Resolves when the role is at work; an error is one that a new start would not help.
   * `awake`: to be called when work begins that will make requests to the mount, or is waited for.
   */
  begin(worker: MountServer, awake: () => void): Promise<void>;
  /** Resolves when applications may start. */
  ready(): Promise<void>;
  onMessage(message: FromWorker): void;
  /** Nothing of ours stays open on the mount. */
  drain(): Promise<void>;
  /** After the unmount. */
  finish(): Promise<void>;
  /** Before a handover, while the mount still answers: others are left alone, nothing of ours stays open on the mount. */
  leave(): Promise<void>;
  /** Nobody answers the mount: all that was committed goes into the log, and the files are closed as they are. */
  handOver(): Promise<void>;

  readonly proxied: ProxiedRole;
  databases(): readonly Database[];
  lagMs(name?: string): number | null;
  /** Null on a replica. */
  durability(name: string): DurabilityStatus | null;
  /** See DatabaseStatus. */
  writer(name: string): string | null;
  primaryAddress(): string | null;
  replicas(): ReplicaStatus[];
  upstream(): UpstreamStatus | null;
  backups(): BackupStatus[];
  /** Stores all that is not stored yet. Throws `BACKUP_NONE`, `BACKUP_REPLICA`. */
  backUp(request: BackupRequest): Promise<readonly BackupRun[]>;
  problems(): Problem[];
}
