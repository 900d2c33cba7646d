// Time limit: 10 min
import { type ExecFileException, execFile } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { freshFolder, startPrimary, stopAll } from '../support/cluster.js';
import { DIFFERENCES } from './differences.js';

/**
 * Each call on each kind of file, by root and two other users, and sequences of them: on the mount of a primary they give
 * what they give on the file system of the temporary folder (ext4), but for the listed differences, all of which must be
 * there. With SLUICE_FIDELITY=all every call meets every file (7,000 meetings), else one in so many does.
 */

const STEP = process.env.SLUICE_FIDELITY === 'all' ? 1 : 20;
const PROGRAM = fileURLToPath(new URL('../../../test/fidelity/fs-cases.py', import.meta.url));
const LIMIT_MS = 4 * 60_000;

/** What the calls gave in that folder, by what was done. */
function callsIn(folder: string): Promise<Map<string, string>> {
  chmodSync(folder, 0o777);
  const options = { timeout: LIMIT_MS, maxBuffer: 64 << 20, cwd: '/' };
  return new Promise((resolve, reject) => {
    execFile('python3', [PROGRAM, folder, `${STEP}`], options, (error: ExecFileException | null, stdout, stderr) => {
      if (error !== null) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(new Map(stdout.trimEnd().split('\n').map(parts)));
    });
  });
}

function parts(line: string): [string, string] {
  const at = line.indexOf(': ');
  return [line.slice(0, at), line.slice(at + 2)];
}

/** Lines of what differs and is not listed; `met` gets the listed differences that were found. */
function unlisted(wanted: Map<string, string>, got: Map<string, string>, met: Set<RegExp>): string[] {
  const lines: string[] = [];
  for (const what of new Set([...wanted.keys(), ...got.keys()])) {
    if (wanted.get(what) === got.get(what)) continue;
    const listed = DIFFERENCES.find(({ where }) => where.test(what));
    if (listed === undefined) lines.push(`${what}\n  ext4:  ${wanted.get(what)}\n  mount: ${got.get(what)}`);
    else met.add(listed.where);
  }
  return lines;
}

for (const locks of ['kernel', 'sluice'] as const) {
  test(`calls give what they give on ext4, but for what is listed (locks: ${locks})`, async () => {
    const primary = await startPrimary({ mount: { path: './mnt', locks } });
    try {
      chmodSync(primary.dir, 0o755);
      const [wanted, got] = await Promise.all([callsIn(freshFolder('plain')), callsIn(primary.mount)]);
      const met = new Set<RegExp>();
      assert.is(unlisted(wanted, got, met).slice(0, 20).join('\n'), '');
      assert.ok(wanted.size > 7000 / STEP, `${wanted.size} lines`);
      for (const { where, reason } of DIFFERENCES) assert.ok(met.has(where), `this is no difference: ${reason}`);
      assert.equal((await primary.status()).problems, []);
    } finally {
      await stopAll();
    }
  });
}

test.run();
