import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findHolders } from '../../src/keeper/holders.js';

const folder = mkdtempSync(join(tmpdir(), 'sluice-holders-'));
const mount = join(folder, 'mnt');
const children: ChildProcess[] = [];

/** Starts a process and waits until it runs. */
function start(script: string, cwd: string): Promise<number> {
  const child = spawn('/bin/sh', ['-c', `${script}; echo up; read wait`], { cwd, stdio: ['pipe', 'pipe', 'ignore'] });
  children.push(child);
  return new Promise((resolve) => child.stdout!.once('data', () => resolve(child.pid!)));
}

const test = suite('keeper/holders');

test('finds who has a file open or stands in a folder, and nobody else', async () => {
  mkdirSync(join(mount, 'sub'), { recursive: true });
  mkdirSync(`${mount}2`);
  writeFileSync(join(mount, 'file'), '');
  const open = await start(`exec 5< ${mount}/file`, '/');
  const inside = await start(':', join(mount, 'sub'));
  const above = await start(':', folder);
  const beside = await start(':', `${mount}2`);
  const pids = (await findHolders(mount, new Set())).map(({ pid }) => pid);
  assert.ok(pids.includes(open));
  assert.ok(pids.includes(inside));
  assert.not.ok(pids.includes(above));
  assert.not.ok(pids.includes(beside));
  const rest = await findHolders(mount, new Set([open]));
  assert.equal(rest, [{ pid: inside, name: 'sh' }]);
});

test.after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});
test.run();
