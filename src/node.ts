import { setTimeout as sleep } from 'node:timers/promises';
import {
  cutOffMessage,
  DataFolder,
  LibfuseMount,
  type MountServer,
  MountWorker,
  Outlived,
  SharedState,
} from './database/index.js';
import type { FromWorker } from './database/worker-messages.js';
import { mkdirSync, rmSync } from './disk/index.js';
import { isAwaited } from './durability/index.js';
import { SluiceError } from './errors.js';
import {
  abortConnection,
  connectionAt,
  createShared,
  measureWakeup,
  opcodeCounts,
  passesOn,
  WakeupsTimer,
  whenServing,
} from './fuse/index.js';
import { LocalFiles } from './local-files.js';
import { linkProxy } from './node-proxy-link.js';
import type { NodeRole } from './node-role.js';
import { databaseStatus, listedFiles, nodeProblems } from './node-status.js';
import type { RunningNode, StartNodeOptions } from './node-types.js';
import { PrimaryRole } from './primary-role.js';
import { ReplicaRole } from './replica-role.js';
import type { NodeState } from './status.js';
import { VERSION } from './version.js';

const SERVING_LIMIT_MS = 30_000;
/** How long the mount's thread may take to end between two requests. */
const HAND_OVER_LIMIT_MS = 5_000;
/** How long the mount may be served after it was unmounted. */
const ENDING_LIMIT_MS = 1_000;
const NOT_PASSED =
  'mount.passthrough is not used: it needs CAP_LINUX_IMMUTABLE and CAP_LEASE, and a file system for the data folder that knows immutable files';

/** Starts a node on a mount whose device descriptor is open: recovers, serves, then joins the others. */
export async function startNode(options: StartNodeOptions): Promise<RunningNode> {
  const { config, log, takeover } = options;
  const startedAt = new Date();
  const folder = new DataFolder(config.data);
  rmSync(folder.spool, { recursive: true, force: true });
  mkdirSync(folder.spool);
  const shared = new SharedState();
  const role: NodeRole =
    config.lease.role === 'primary'
      ? new PrimaryRole(options, folder, shared)
      : new ReplicaRole(options, folder, shared);

  const outlived = new Outlived(folder.files, folder.run);
  if (!takeover) for (const name of outlived.cutOff()) log.warn(cutOffMessage(name));
  for (const { name, outcome, compare } of await role.recover(takeover)) {
    const level = outcome === 'clean' || outcome === 'no database' ? 'debug' : 'info';
    log[level]({ database: name, outcome, journal: compare ? 'played back' : undefined }, 'recovered');
  }

  const locks = config.mount.locks === 'sluice' || (config.mount.locks === 'auto' && role.writes) ? 'sluice' : 'kernel';
  const { driver, passthrough } = config.mount;
  const mayPass = passthrough === 'on' && role.role === 'primary' && driver !== 'libfuse';
  const passes = mayPass && (takeover || outlived.prepare());
  if (mayPass && !passes) log.info(NOT_PASSED);
  const fuseShared = createShared(config.mount.wakeups);
  const served = {
    mountPath: config.mount.path,
    backing: folder.files,
    run: folder.run,
    marks: folder.marks.folder,
    role: role.role,
    fuseShared,
    databases: role.slots(),
    onMessage: (message: FromWorker) => {
      if (message.kind === 'log') log.warn(message.message);
      else role.onMessage(message);
    },
  };
  const { commits } = role;
  const connection = connectionAt(config.mount.path);
  const worker: MountServer =
    config.mount.driver === 'libfuse'
      ? new LibfuseMount({
          ...served,
          shared,
          commits: commits && { state: commits.state, isAwaited: (name) => isAwaited(commits.rules, name) },
        })
      : new MountWorker({
          ...served,
          deviceFd: options.deviceFd,
          locks,
          connection,
          takeover,
          passthrough: passes,
          commits: commits && { rules: commits.rules, state: commits.state.buffer },
          writes: role.writes,
          state: shared.buffer,
        });
  const serving = await Promise.race([whenServing(fuseShared, SERVING_LIMIT_MS), worker.ended.then(() => false)]);
  if (!serving) {
    throw new SluiceError('MOUNT_FAILED', `${config.mount.path} is mounted but does not answer`, 'See sluice doctor');
  }
  options.onAnswering();
  worker.waker.start();
  const wakeups = new WakeupsTimer(fuseShared);
  const hint = wakeups.start();
  if (hint !== undefined) log.warn(hint);

  const unmounted = worker.ended.then(() => {
    throw new SluiceError('UNMOUNTED', `${config.mount.path} was unmounted by someone else`);
  });
  let ready = false;
  const link = await linkProxy({
    config,
    folder,
    role,
    log,
    metrics: options.metrics,
    isReady: () => ready,
    problems: () => nodeProblems(role.databases(), role.problems()),
  });
  // What fails here, like a port that is taken, would fail again: the keeper tells it and does not try another node.
  await Promise.race([role.begin(worker, () => wakeups.awake()), unmounted]);

  let stopping = false;
  const failed = new Promise<never>((_, reject) => {
    const lost = (error: unknown) => {
      if (!stopping) reject(error);
    };
    unmounted.catch(lost);
    role.ready().then(() => {
      ready = true;
      link?.changed();
      log.info({ role: role.role, mount: config.mount.path }, 'ready');
      options.onReady();
    }, lost);
  });
  failed.catch(() => {});
  // libfuse has the kernel keep the answer.
  if (!takeover && config.mount.driver !== 'libfuse') void reportWakeup(options);

  const files = new LocalFiles(folder.files);
  const state = () =>
    stateOf(options, role, folder, {
      startedAt,
      ready,
      locks,
      passthrough: passes && passesOn(fuseShared),
      requests: opcodeCounts(fuseShared),
    });
  return {
    state,
    async status() {
      const names = await files.list();
      return { ...state(), localFiles: listedFiles(names), localFileCount: names.length };
    },
    backUp: (request) => role.backUp(request),
    async drain() {
      stopping = true;
      worker.warmer.close();
      await role.drain();
    },
    async finish() {
      link?.close();
      wakeups.close();
      await untilEnded(worker, connection);
      await role.finish();
      worker.waker.close();
    },
    async handOver(paused) {
      stopping = true;
      worker.warmer.close();
      link?.close();
      await role.leave();
      paused();
      await worker.handOver(HAND_OVER_LIMIT_MS);
      wakeups.close();
      worker.waker.close();
      await role.handOver();
    },
    failed,
  };
}

/** Whoever has the mount in another namespace of mounts keeps it there when it is unmounted here. */
async function untilEnded(worker: MountServer, connection: number | undefined): Promise<void> {
  const ended = worker.ended.then(
    () => true,
    () => true,
  );
  const isEnded = await Promise.race([ended, sleep(ENDING_LIMIT_MS, false)]);
  if (!isEnded && connection !== undefined) abortConnection(connection);
}

function stateOf(
  options: StartNodeOptions,
  role: NodeRole,
  folder: DataFolder,
  facts: {
    readonly startedAt: Date;
    readonly ready: boolean;
    readonly locks: 'kernel' | 'sluice';
    readonly passthrough: boolean;
    readonly requests: ReadonlyMap<string, number>;
  },
): NodeState {
  const { config } = options;
  const databases = role.databases();
  return {
    version: VERSION,
    nodeId: folder.nodeId,
    role: role.role,
    primary: role.primaryAddress(),
    ready: facts.ready,
    startedAt: facts.startedAt.toISOString(),
    mount: config.mount.path,
    data: config.data,
    locks: facts.locks,
    passthrough: facts.passthrough,
    requests: Object.fromEntries(facts.requests),
    databases: databases
      .filter((db) => db.live)
      .map((db) => databaseStatus(db, role.role, role.lagMs(db.name), role.durability(db.name), role.writer(db.name))),
    replicas: role.replicas(),
    upstream: role.upstream(),
    backups: role.backups(),
    problems: nodeProblems(databases, role.problems()),
  };
}

/** Says in the log what a request costs on this machine. */
async function reportWakeup({ config, log }: StartNodeOptions): Promise<void> {
  try {
    const { idleUs, busyUs } = await measureWakeup(config.mount.path);
    log.info(
      { idleUs: Math.round(idleUs), busyUs: Math.round(busyUs), wakeups: config.mount.wakeups },
      'request round trip',
    );
  } catch (error) {
    log.debug({ err: error }, 'the request round trip could not be measured');
  }
}
