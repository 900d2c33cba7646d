import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { serveMount } from '../../src/fuse/serve.js';
import { createShared } from '../../src/fuse/shared.js';
import { PassiveWatcher } from './support/passive-watcher.js';

test('a mount is not taken over with a damaged note of what was negotiated', () => {
  const run = mkdtempSync(join(tmpdir(), 'sluice-serve-'));
  try {
    mkdirSync(join(run, 'backing'));
    for (const text of ['', '{', 'null', '[]', '7', '{}', '{"incarnation":1}', '{"incarnation":"1","negotiated":{}}']) {
      writeFileSync(join(run, 'session.json'), text);
      const serve = (): unknown =>
        serveMount({
          deviceFd: -1,
          backing: join(run, 'backing'),
          run,
          locks: 'kernel',
          takeover: true,
          watcher: new PassiveWatcher(),
          shared: createShared('off'),
        });
      assert.throws(serve, (error: unknown) => error instanceof SluiceError && error.code === 'FUSE_TAKEOVER', text);
    }
  } finally {
    rmSync(run, { recursive: true });
  }
});

test.run();
