import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytes, type Fixture, withApplier } from './fixture.js';

const ATTEMPTS = 20;

/** Runs `use` on a small disk, which needs the right to mount. */
async function withSmallDisk(use: (fixture: Fixture) => Promise<void>): Promise<void> {
  await withApplier(async (fixture) => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'sluice-test', fixture.mount]);
    try {
      await use(fixture);
    } finally {
      await fixture.applier.stop();
      execFileSync('umount', [fixture.mount]);
    }
  });
}

/** Leaves `freeBytes` of the disk. */
function fill(path: string, mount: string, freeBytes: number): void {
  const { bavail, bsize } = statfsSync(mount);
  writeFileSync(path, Buffer.alloc(bavail * bsize - freeBytes));
}

function openFiles(pid: number | undefined): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

for (const [what, change] of [
  ['the journal', 'update'],
  ['the pages', 'insert'],
] as const) {
  test(`a full disk has no room for ${what}: readers keep what was there, nothing is left open, and later it works`, () =>
    withSmallDisk(async ({ applier, mount, path, source }) => {
      const src = source('a.db', { mode: 'delete' });
      // Its journal is one piece, so that only the last write of it fails.
      src.insert(600, 1000);
      await applier.apply('a.db', bytes(src.capture()));
      const before = readFileSync(path('a.db'));
      if (change === 'update') src.update(1);
      else src.insert(1000, 1000);
      const ltx = src.capture();
      fill(path('filler'), mount, change === 'update' ? 300_000 : 200_000);
      const open: number[] = [];
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const failure = await applier.apply('a.db', bytes(ltx)).catch((error: Error) => error.message);
        assert.match(String(failure), /ENOSPC/);
        assert.not(existsSync(`${path('a.db')}-journal`), `attempt ${attempt}`);
        const reader = new Database(path('a.db'), { readonly: true });
        assert.is(reader.pragma('integrity_check', { simple: true }), 'ok');
        assert.is(reader.prepare('SELECT count(*) FROM t').pluck().get(), 600);
        reader.close();
        open.push(openFiles(applier.pid));
      }
      assert.is(open.at(-1), open[0], `open files: ${open.join(' ')}`);
      assert.ok(readFileSync(path('a.db')).equals(before));
      rmSync(path('filler'));
      await applier.apply('a.db', bytes(ltx));
      assert.ok(readFileSync(path('a.db')).equals(src.file()));
    }));
}

test.run();
