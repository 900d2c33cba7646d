import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, cleanUp, startPrimary } from '../support/cluster.js';

const test = suite('files that are open and have no name any more');

const CLIENT = fileURLToPath(new URL('../fuse/support/orphan-client.js', import.meta.url));
const LIMIT_MS = 30_000;
/** Names that mean something to a primary, and one that does not. */
const NAMES = ['plain', 'a.db', 'a.db-wal', 'a.db-shm', 'a.db-journal'];

let primary: ClusterNode | undefined;

test.after(async () => {
  await primary?.stop();
  cleanUp();
});

test('are written, synced and cut after the node was killed', async () => {
  primary = await startPrimary();
  const clients = NAMES.map((name) => {
    const child = spawn(process.execPath, [CLIENT, primary!.path(name)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    return { name, child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
  });
  for (const { name, lines } of clients) assert.is((await lines.next()).value, 'ready', name);
  await primary.killNode();
  for (const { name, child, lines } of clients) {
    child.stdin.end();
    assert.is((await lines.next()).value, 'kept and w', name);
  }
  const { problems } = await primary.status();
  assert.equal(problems, []);
  assert.not.ok(primary.log.includes('TypeError'), primary.log.slice(-2000));
});

test.run();
