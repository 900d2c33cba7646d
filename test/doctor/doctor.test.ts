import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkAddon, judgeAddon } from '../../src/doctor/addon.js';
import { judgeClock } from '../../src/doctor/clock.js';
import { checkDisk } from '../../src/doctor/disk.js';
import { judgeDriver } from '../../src/doctor/driver.js';
import { checkKernel, checkNode } from '../../src/doctor/machine.js';
import { measureMount } from '../../src/doctor/mount-probe.js';
import { checkWakeups, judgeWakeups } from '../../src/doctor/wakeups.js';

const test = suite('doctor');
const scratch = mkdtempSync(join(tmpdir(), 'sluice-doctors-'));
process.env.TMPDIR = scratch;

test('Node.js and kernel versions', () => {
  assert.is(checkNode('20.1.0').result, 'ok');
  assert.is(checkNode('24.0.0').result, 'ok');
  assert.is(checkNode('18.19.1').result, 'fail');
  assert.is(checkKernel('linux', '6.18.44-fc').result, 'ok');
  assert.is(checkKernel('linux', '6.9.0').result, 'ok');
  assert.is(checkKernel('linux', '7.0').result, 'ok');
  assert.is(checkKernel('linux', '6.8.12').result, 'warn');
  assert.is(checkKernel('linux', '5.15.0').result, 'warn');
  assert.is(checkKernel('darwin', '24.0.0').result, 'fail');
});

const times = (idleUs: number) => ({ to: 'a mount', idleUs, busyUs: 10 });

test('an addon that Node.js 24 would end the process with is told', async () => {
  const [here] = await checkAddon();
  assert.match(here!.message, /^SQLite 3\.\d+\.\d+$/);
  assert.is(judgeAddon('3.50.0', Buffer.from('…_ZN4node25AddEnvironmentCleanupHookEP…')).result, 'ok');
  assert.is(judgeAddon('3.50.0', Buffer.from('…_ZN4node28RemoveEnvironmentCleanupHookEP…')).result, 'fail');
});

test('the driver that would be used is told, and why', () => {
  const good = { isReplica: true, tellsCallers: true };
  assert.equal(judgeDriver('raw', 'auto', good), {
    result: 'ok',
    subject: 'driver',
    message: 'raw, since this is root',
    hint: '',
  });
  assert.is(judgeDriver('libfuse', 'libfuse', good).result, 'ok');
  const without = judgeDriver('libfuse', 'auto', good);
  assert.is(without.result, 'warn');
  assert.is(without.message, 'libfuse, since this is not root');
  assert.is(judgeDriver('libfuse', 'auto', { isReplica: true, tellsCallers: false }).result, 'fail');
  assert.is(judgeDriver('libfuse', 'libfuse', { isReplica: false, tellsCallers: false }).result, 'warn');
});

test('slow wake-ups name the setting that helps', () => {
  assert.is(judgeWakeups(times(20), 0, true).result, 'ok');
  assert.match(judgeWakeups(times(90), 0, true).hint, /^Let idle processors poll: echo 200000 > \/sys/);
  assert.is(judgeWakeups(times(90), 200_000, true).result, 'ok');
  assert.is(judgeWakeups(times(90), Number.NaN, true).result, 'ok');
  assert.match(judgeWakeups(times(90), Number.NaN, false).hint, /cpu_dma_latency/);
});

test('what was measured is said', () => {
  const { message } = judgeWakeups(times(20.4), 0, true);
  assert.is(message, 'a request to a mount takes 20 µs after a pause, 10 µs after another');
});

const canMount = process.getuid?.() === 0 && existsSync('/dev/fuse');
const mounted = canMount ? test : test.skip;

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Mounts and temporary folders of the doctor that are there now. */
function left(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return [...mounts.filter((line) => line.includes(scratch)), ...readdirSync(scratch)];
}

mounted('a request to a real mount is measured, and nothing stays behind', async () => {
  const [wakeups] = await checkWakeups();
  assert.match(wakeups!.message, /^a request to a mount takes \d+ µs after a pause, \d+ µs after another/);
  assert.equal(left(), []);
});

mounted('a mount that does not answer is given up, and taken away', async () => {
  const program = fileURLToPath(new URL('./unserved-mount.js', import.meta.url));
  assert.match(await failure(measureMount(program)), /does not answer/);
  assert.equal(left(), []);
});

test('a server that cannot mount, says nonsense, or is not there is an error', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-programs-'));
  const program = (text: string) => {
    writeFileSync(join(folder, 'program.cjs'), text);
    return measureMount(join(folder, 'program.cjs'));
  };
  try {
    assert.is(await failure(program(`console.log('{"problem":"no mount here"}')`)), 'no mount here');
    assert.is(await failure(program('console.log("nonsense")')), 'a mount could not be tried');
    assert.is(await failure(measureMount(join(folder, 'none.js'))), 'a mount could not be tried');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the clock', () => {
  assert.is(judgeClock(new Date('2026-01-01'), 0.4).result, 'ok');
  assert.is(judgeClock(new Date('1970-01-02'), 0).result, 'warn');
  assert.match(judgeClock(new Date('2026-01-01'), -300).message, /jumped by -300 ms/);
});

test('the disk is measured where the data folder will be, and nothing stays there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-doctor-'));
  try {
    const findings = checkDisk(join(folder, 'not/yet'));
    assert.match(findings[0]!.message, new RegExp(`fsync takes .+ in ${folder}$`));
    assert.equal(readdirSync(folder), []);
    assert.is(checkDisk('/proc/nothing')[0]!.result, 'fail');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.after(() => rmSync(scratch, { recursive: true }));
test.run();
