import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { SluiceError } from '../../src/errors.js';
import { runNode } from '../../src/keeper/node-child.js';
import { PRIMARY } from '../http/status-fixture.js';

/**
 * A node that serves nothing: it says what a real one says, writes down what is asked of it, and misbehaves as
 * FAKE_NODE tells it: `fail-start`, `crash-start`, `crash-start-once`, `die-once` (when ready), `die-always`, `hang`, `keeper-dies`
 * (as it is to mount), `hold-on` (to the mount when it is to hand over); and, while the file FAKE_ONCE is there, `bad-code`
 * (cannot be loaded) and `bad-start`.
 */

const behaviour = process.env.FAKE_NODE ?? '';
const journal = process.env.FAKE_JOURNAL!;

const once = process.env.FAKE_ONCE ?? '';

function note(what: string): void {
  appendFileSync(journal, `${what}\n`);
}

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('not reached');
}

if (behaviour === 'bad-code' && existsSync(once)) throw new Error('this version has no code');

if (behaviour === 'keeper-dies') {
  process.send = () => {
    process.kill(process.ppid, 'SIGKILL');
    return true;
  };
}

await runNode(async ({ deviceFd, takeover, onAnswering, onReady }) => {
  note(`start ${process.pid} fd ${deviceFd} takeover ${takeover}`);
  if (behaviour === 'fail-start') throw new SluiceError('TEST', 'the disk is on fire', 'Call the fire brigade');
  if (behaviour === 'crash-start') die();
  if (behaviour === 'bad-start' && existsSync(once)) throw new SluiceError('TEST', 'a version that cannot start');
  if (behaviour === 'crash-start-once' && !existsSync(once)) {
    writeFileSync(once, '');
    die();
  }
  onAnswering();
  setTimeout(() => {
    note('ready');
    onReady();
    if (behaviour === 'die-always' || (behaviour === 'die-once' && !takeover)) setTimeout(die, 200);
  }, 20);
  return {
    state: () => PRIMARY,
    status: async () => PRIMARY,
    backUp: async () => [],
    async drain() {
      note('drain');
      if (behaviour === 'hang') await new Promise(() => undefined);
    },
    async finish() {
      note('finish');
    },
    async handOver(paused) {
      note('hand over');
      paused();
      if (behaviour === 'hold-on') await new Promise(() => undefined);
    },
    failed: new Promise<never>(() => undefined),
  };
});
