import type { Applier, Halter } from '../apply/index.js';
import { MAX_OWN_HALTERS } from './limits.js';

/** A process that takes locks. */
export type HalterProcess = Halter & Pick<Applier, 'start' | 'stop'>;

interface Running {
  readonly process: HalterProcess;
  readonly started: Promise<void>;
  /** The databases that it is for; undefined of the one that is for all the others. */
  readonly names: Set<string> | undefined;
}

/**
 * The processes that take the locks of a primary's databases and write in the place of replicas, started when they are first
 * asked for. A write that waits for other machines holds up its process: a database whose commits do that has one of its own,
 * as long as replicas write to it, or shares it with others of that kind where there are many.
 */
export class Halters {
  private shared: Running | undefined;
  private own: Running[] = [];
  private stopped = false;

  constructor(
    private readonly create: () => HalterProcess,
    /** Whether commits of a database wait for other machines. */
    private readonly waits: (name: string) => boolean,
  ) {}

  /** Rejects if it cannot be started. */
  async of(name: string): Promise<Halter> {
    const running = this.waits(name) ? this.ownOf(name) : this.sharedOne();
    try {
      await running.started;
    } catch (error) {
      this.forget(running);
      throw error;
    }
    return running.process;
  }

  /** Nobody writes to the database for now: it is closed, and a process that is for nothing else ends. */
  async close(name: string): Promise<void> {
    const running = this.waits(name) ? this.own.find(({ names }) => names?.has(name)) : this.shared;
    if (running === undefined) return;
    running.names?.delete(name);
    if (running.names?.size !== 0) return running.process.close(name);
    this.forget(running);
    await running.process.stop();
  }

  /** Nothing of them stays open on the mount. */
  async stop(): Promise<void> {
    this.stopped = true;
    const all = [...this.own.splice(0), ...(this.shared === undefined ? [] : [this.shared])];
    this.shared = undefined;
    await Promise.all(all.map(({ process }) => process.stop()));
  }

  private sharedOne(): Running {
    this.shared ??= this.start(undefined);
    return this.shared;
  }

  private ownOf(name: string): Running {
    const known = this.own.find(({ names }) => names?.has(name));
    if (known !== undefined) return known;
    if (this.own.length < MAX_OWN_HALTERS) {
      const running = this.start(new Set([name]));
      this.own.push(running);
      return running;
    }
    const least = this.own.reduce((a, b) => (b.names!.size < a.names!.size ? b : a));
    least.names!.add(name);
    return least;
  }

  private start(names: Set<string> | undefined): Running {
    const process = this.create();
    const started = this.stopped ? Promise.reject(new Error('the node stops')) : process.start();
    return { process, started, names };
  }

  private forget(running: Running): void {
    if (this.shared === running) this.shared = undefined;
    this.own = this.own.filter((other) => other !== running);
  }
}
