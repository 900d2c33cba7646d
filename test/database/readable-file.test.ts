import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openToRead } from '../../src/database/readable-file.js';
import { WalFile } from '../../src/database/wal-file.js';

const test = suite('openToRead');

test('regular files alone: no folder, no link, no pipe, and nothing that is not there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-readable-'));
  const at = (name: string): string => join(folder, name);
  try {
    writeFileSync(at('file'), 'x');
    mkdirSync(at('folder'));
    symlinkSync('file', at('link'));
    assert.is(spawnSync('mkfifo', [at('pipe')]).status, 0);
    const fd = openToRead(at('file'));
    assert.ok(fd !== undefined);
    closeSync(fd);
    for (const name of ['folder', 'link', 'pipe', 'missing']) {
      assert.is(openToRead(at(name)), undefined, name);
      assert.is(WalFile.open(at(name)), undefined, name);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
