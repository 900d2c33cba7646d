import type { MayLock, Watcher } from '../fuse/index.js';
import { CaptureWatcher } from './capture-watcher.js';
import type { CommitParts } from './commit-gate.js';
import { ForwardingWatcher } from './forwarding-watcher.js';
import { ReplicaWatcher } from './replica-watcher.js';
import type { SharedState } from './shared.js';
import { UnloggedMarks } from './unlogged-marks.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

export interface WatcherOptions {
  readonly role: 'primary' | 'replica';
  readonly shared: SharedState;
  readonly backing: string;
  /** Folder of the UnloggedMarks. */
  readonly marks: string;
  readonly databases: readonly { readonly name: string; readonly slot: number }[];
  /** Whether the kernel may write WALs by itself. */
  readonly passthrough?: boolean;
  /** On a replica, with locks that Sluice keeps: applications write. */
  readonly writes?: boolean;
  /** On a primary where commits may have to wait until they are on other machines. */
  readonly commits?: CommitParts | undefined;
  readonly send: (message: FromWorker) => void;
  readonly receive: () => ToWorker | undefined;
}

/** Who watches the files of a node's mount, by its role. */
export function createWatcher(options: WatcherOptions): {
  readonly watcher: Watcher;
  readonly mayLock?: MayLock;
  ended(): void;
} {
  const { role, shared, backing, databases, passthrough, send, receive } = options;
  if (role === 'replica') {
    const ended = () => undefined;
    if (options.writes !== true) return { watcher: new ReplicaWatcher({ shared, databases, receive }), ended };
    const forwarding = new ForwardingWatcher({ shared, databases, receive, send });
    return { watcher: forwarding, mayLock: forwarding.mayLock, ended };
  }
  const marks = new UnloggedMarks(options.marks);
  const watcher = new CaptureWatcher({
    shared,
    backing,
    marks,
    databases,
    passthrough: passthrough === true,
    commits: options.commits,
    send,
    receive,
  });
  return { watcher, ended: () => watcher.ended() };
}
