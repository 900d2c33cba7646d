import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findHolders } from '../../src/keeper/holders.js';

const folder = mkdtempSync(join(tmpdir(), 'sluice-holders-'));
const mount = join(folder, 'mnt');
const children: ChildProcess[] = [];
const SCAN_LIMIT_MS = 3_000;

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

/** A process as /proc shows it. */
function fakeProcess(proc: string, pid: number, state: string, files: { fd?: string; maps?: string }): void {
  const own = join(proc, String(pid));
  mkdirSync(join(own, 'task', String(pid)), { recursive: true });
  mkdirSync(join(own, 'fd'));
  writeFileSync(join(own, 'comm'), `p${pid}\n`);
  writeFileSync(join(own, 'task', String(pid), 'stat'), `${pid} (a) D b) ${state} 1 1\n`);
  if (files.fd !== undefined) symlinkSync(files.fd, join(own, 'fd', '3'));
  if (files.maps !== undefined) writeFileSync(join(own, 'maps'), `7f00-7f01 r--p 0 00:2a 5   ${files.maps}\n`);
}

test('a process whose mappings cannot be read hides no other', () => {
  const proc = join(folder, 'proc');
  // Its maps are a pipe that nobody writes: who reads it waits for ever, as for a process in a page fault.
  fakeProcess(proc, 1, 'D', {});
  assert.is(spawnSync('mkfifo', [join(proc, '1', 'maps')]).status, 0);
  fakeProcess(proc, 2, 'S', { maps: `${mount}/app.db-shm` });
  fakeProcess(proc, 3, 'S', { fd: `${mount}/app.db` });
  fakeProcess(proc, 4, 'D', { fd: `${mount}/app.db` });
  fakeProcess(proc, 5, 'R', { maps: '/usr/lib/libc.so' });
  const holders = fileURLToPath(new URL('../../src/keeper/holders.js', import.meta.url));
  const program = `import { scanHolders } from ${JSON.stringify(holders)};
    scanHolders(${JSON.stringify(mount)}, ({ pid, name }) => console.log(pid, name), ${JSON.stringify(proc)});`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: SCAN_LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  assert.equal(stdout.trim().split('\n').sort(), ['2 p2', '3 p3', '4 p4']);
});

test('a search that hangs ends, with what it has found', async () => {
  const program = join(folder, 'hangs.cjs');
  writeFileSync(program, `require('fs').writeSync(1, '17 sh\\n18 half'); setInterval(() => {}, 1e6);`);
  assert.equal(await findHolders(mount, new Set(), program), [{ pid: 17, name: 'sh' }]);
  assert.equal(await findHolders(mount, new Set(), join(folder, 'none.cjs')), []);
});

test.after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});
test.run();
