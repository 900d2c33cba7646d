import type { DurabilityConfig } from './config/index.js';
import type { CommitState, Database, MountServer, Recovered } from './database/index.js';
import type { FromWorker } from './database/worker-messages.js';
import type {
  BackupRequest,
  BackupRun,
  BackupStatus,
  DurabilityStatus,
  Problem,
  ReplicaStatus,
  UpstreamStatus,
} from './status.js';

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

  databases(): readonly Database[];
  lagMs(name?: string): number | null;
  /** Null on a replica. */
  durability(name: string): DurabilityStatus | null;
  primaryAddress(): string | null;
  replicas(): ReplicaStatus[];
  upstream(): UpstreamStatus | null;
  backups(): BackupStatus[];
  /** Stores all that is not stored yet. Throws `BACKUP_NONE`, `BACKUP_REPLICA`. */
  backUp(request: BackupRequest): Promise<readonly BackupRun[]>;
  problems(): Problem[];
}
