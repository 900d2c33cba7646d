import { open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Warmer } from '../../src/fuse/index.js';
import { canMount, withMount } from './support/mounted.js';

const FRAME = 24 + 4096;
const FRAMES = 20;
const LIMIT_MS = 10_000;

if (canMount) {
  test('what it has read takes two requests a frame to write over, and three before', () =>
    withMount({}, async ({ path }, server) => {
      const file = await open(`${path}/wal`, 'w+');
      const requests = async (name: string): Promise<number> => (await server.status()).requests[name] ?? 0;
      const writes = async (): Promise<number> => {
        const before = await requests('WRITE');
        for (let i = 0; i < FRAMES; i++) {
          await file.write(Buffer.alloc(24, i), 0, 24, 32 + i * FRAME);
          await file.write(Buffer.alloc(4096, i), 0, 4096, 32 + i * FRAME + 24);
        }
        return (await requests('WRITE')) - before;
      };
      const [first, second] = [await writes(), await writes()];
      assert.ok(first > 2 * FRAMES && second > 2 * FRAMES, `${first}, ${second}`);

      const warmer = new Warmer(path);
      const size = (await file.stat()).size;
      warmer.read('wal', size);
      warmer.read('another', size);
      const end = Date.now() + LIMIT_MS;
      while (warmer.busy && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.ok((await requests('READ')) > 0);
      assert.is(await writes(), 2 * FRAMES);

      warmer.close();
      warmer.read('wal', size);
      assert.not.ok(warmer.busy, 'nothing is read any more');
      await file.close();
    }));
}

test.run();
