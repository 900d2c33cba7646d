import { setImmediate as afterEvents, setTimeout as delay } from 'node:timers/promises';
import { SluiceError } from '../errors.js';

/** Lets the other databases of the process have their turn, and notices when the process is to end. */
export class Turn {
  private stopping = false;

  /** From now on everything that waits or pauses rejects with `APPLIER_GONE`. */
  stop(): void {
    this.stopping = true;
  }

  /** Between two pieces of long work. */
  async pass(): Promise<void> {
    await afterEvents();
    this.check();
  }

  async wait(pauseMs: number): Promise<void> {
    this.check();
    await delay(pauseMs);
    this.check();
  }

  check(): void {
    if (this.stopping) throw new SluiceError('APPLIER_GONE', 'the applier is stopping');
  }
}
