import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RegularFile } from '../../src/fuse/nodes.js';
import { Syncer } from '../../src/fuse/syncer.js';
import { canMount, withMount } from './support/mounted.js';

const SLOW_MS = 1500;

const ANSWER_BYTES = 16;
const LIMIT_MS = 10_000;
const EBADF = 9;

/** A device that keeps the answers: length, negative errno and request of each. */
async function answersTo(ask: (syncer: Syncer, folder: string) => number): Promise<number[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-sync-'));
  const device = join(folder, 'device');
  const deviceFd = openSync(device, 'a');
  const syncer = new Syncer({ deviceFd, answer: () => assert.unreachable('there was room') });
  try {
    const count = ask(syncer, folder);
    for (let end = Date.now() + LIMIT_MS; statSync(device).size < count * ANSWER_BYTES && Date.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // One more than there should be would come soon.
    await new Promise((resolve) => setTimeout(resolve, 50));
    const bytes = readFileSync(device);
    assert.is(bytes.length, count * ANSWER_BYTES);
    return Array.from({ length: count }, (_, i) => [0, 4, 8].map((at) => bytes.readInt32LE(i * ANSWER_BYTES + at)));
  } finally {
    syncer.close();
    closeSync(deviceFd);
    rmSync(folder, { recursive: true, force: true });
  }
}

test('several files are synced for one answer, which has the error of any', async () => {
  const files: number[] = [];
  const answers = await answersTo((syncer, folder) => {
    for (const name of ['a', 'b', 'c']) files.push(openSync(join(folder, name), 'w'));
    const [a, b, c] = files as [number, number, number];
    const file = { fd: () => a, path: 'a' } as RegularFile;
    const closed = 1_000_000;
    for (let i = 0; i < 4; i++) syncer.file(2 * i + 1, 0, file, [b, c], true);
    syncer.file(100, 0, file, [b, closed, c], false);
    return 5;
  });
  for (const fd of files) closeSync(fd);
  answers.sort(([, , x], [, , y]) => x! - y!);
  const expected = [1, 3, 5, 7].map((unique) => [ANSWER_BYTES, 0, unique]);
  assert.equal(answers, [...expected, [ANSWER_BYTES, -EBADF, 100]]);
});

if (canMount) {
  test('a slow fsync of one file stalls neither other files nor its own reads', () =>
    withMount({ slowSync: { suffix: 'slow', delayMs: SLOW_MS } }, async ({ path }) => {
      const slow = await open(`${path}/slow`, 'w+');
      const quick = await open(`${path}/quick`, 'w+');
      await slow.write('slow');
      await quick.write('quick');
      const order: string[] = [];
      const slowSync = slow.sync().then(() => order.push('slow'));
      for (let i = 0; i < 20; i++) {
        await quick.write('more');
        await quick.datasync();
      }
      order.push('quick');
      const bytes = Buffer.alloc(4);
      await slow.read(bytes, 0, 4, 0);
      order.push('read');
      await writeFile(`${path}/third`, 'x');
      order.push('third');
      await slowSync;
      assert.equal(order, ['quick', 'read', 'third', 'slow']);
      await slow.close();
      await quick.close();
    }));

  test('more syncs at once than there is room for are all answered', () =>
    withMount({ slowSync: { suffix: 'slow', delayMs: 20 }, maxOpenFiles: 4 }, async ({ path }) => {
      const files = await Promise.all(Array.from({ length: 60 }, (_, i) => open(`${path}/${i}-slow`, 'w+')));
      await Promise.all(files.map((file) => file.write('x')));
      await Promise.all(files.map((file) => file.sync()));
      await Promise.all(files.map((file) => file.close()));
    }));
}

test.run();
