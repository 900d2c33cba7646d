import { open, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { canMount, withMount } from './support/mounted.js';

const SLOW_MS = 1500;

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
