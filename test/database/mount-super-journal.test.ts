import { existsSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, cleanUp, contentChecksum, startPrimary, waitFor } from '../support/cluster.js';
import { killInCommit, makeOld, superJournalOf, valuesOf } from './support/killed-commit.js';

/** On a real mount: its node would wait for itself if recovery looked for the super-journal there. */
const test = suite('a commit over two databases of a mount, killed');
const NAMES = ['a.db', 'b.db'];
let primary: ClusterNode;

test.before.each(async () => {
  primary = await startPrimary();
  for (const name of NAMES) makeOld(primary.path(name));
});
test.after.each(async () => {
  await primary.stop();
  cleanUp();
});

async function kill(): Promise<void> {
  const [main, attached] = NAMES.map((name) => primary.path(name));
  await killInCommit(main!, attached!, (path) => path.replace(primary.mount, primary.backing('.')));
}

async function isOld(): Promise<void> {
  for (const name of NAMES) {
    assert.is(valuesOf(primary.path(name)), 'old', name);
    assert.ok(!existsSync(primary.backing(`${name}-journal`)));
    const content = contentChecksum(primary.backing(name));
    await waitFor(async () => (await primary.position(name))?.split('/')[1] === content, 15_000, `${name} ${content}`);
  }
  assert.equal((await primary.status()).problems, []);
}

test('with the node and its mount: the next start rolls it back', async () => {
  await kill();
  await primary.killAll();
  await primary.start();
  for (const name of NAMES) assert.ok(!existsSync(primary.backing(`${name}-journal`)));
  assert.is(superJournalOf(primary.backing(NAMES[0]!)), undefined);
  await isOld();
});

test('with the node alone: the next opener on the mount that lives on rolls it back', async () => {
  await kill();
  await primary.killNode();
  assert.ok(existsSync(primary.backing(`${NAMES[0]}-journal`)));
  await isOld();
  assert.is(superJournalOf(primary.backing(NAMES[0]!)), undefined);
});

test.run();
