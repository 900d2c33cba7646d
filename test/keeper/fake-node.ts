import { appendFileSync } from 'node:fs';
import { SluiceError } from '../../src/errors.js';
import { runNode } from '../../src/keeper/node-child.js';
import { PRIMARY } from '../http/status-fixture.js';

/**
 * A node that serves nothing: it says what a real one says, writes down what is asked of it, and misbehaves as
 * FAKE_NODE tells it: `fail-start`, `crash-start`, `crash-start-once`, `die-once` (when ready), `die-always`, `hang`, `keeper-dies`
 * (as it is to mount).
 */

const behaviour = process.env.FAKE_NODE ?? '';
const journal = process.env.FAKE_JOURNAL!;

function note(what: string): void {
  appendFileSync(journal, `${what}\n`);
}

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('not reached');
}

if (behaviour === 'keeper-dies') {
  process.send = () => {
    process.kill(process.ppid, 'SIGKILL');
    return true;
  };
}

await runNode(async ({ deviceFd, takeover, onReady }) => {
  note(`start ${process.pid} fd ${deviceFd} takeover ${takeover}`);
  if (behaviour === 'fail-start') throw new SluiceError('TEST', 'the disk is on fire', 'Call the fire brigade');
  if (behaviour === 'crash-start') die();
  if (behaviour === 'crash-start-once' && process.env.FAKE_ONCE !== undefined) {
    const { existsSync, writeFileSync } = await import('node:fs');
    if (!existsSync(process.env.FAKE_ONCE)) {
      writeFileSync(process.env.FAKE_ONCE, '');
      die();
    }
  }
  setTimeout(() => {
    note('ready');
    onReady();
    if (behaviour === 'die-always' || (behaviour === 'die-once' && !takeover)) setTimeout(die, 200);
  }, 20);
  return {
    state: () => PRIMARY,
    status: async () => PRIMARY,
    async drain() {
      note('drain');
      if (behaviour === 'hang') await new Promise(() => undefined);
    },
    async finish() {
      note('finish');
    },
    failed: new Promise<never>(() => undefined),
  };
});
