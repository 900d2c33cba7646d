import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judgeClock } from '../../src/doctor/clock.js';
import { checkDisk } from '../../src/doctor/disk.js';
import { checkKernel, checkNode } from '../../src/doctor/machine.js';
import { judgeWakeups } from '../../src/doctor/wakeups.js';

const test = suite('doctor');

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

test('slow wake-ups name the setting that helps', () => {
  assert.is(judgeWakeups(20, 10, 0, true).result, 'ok');
  assert.match(judgeWakeups(90, 10, 0, true).hint, /^Let idle processors poll: echo 200000 > \/sys/);
  assert.is(judgeWakeups(90, 10, 200_000, true).result, 'ok');
  assert.is(judgeWakeups(90, 10, Number.NaN, true).result, 'ok');
  assert.match(judgeWakeups(90, 10, Number.NaN, false).hint, /cpu_dma_latency/);
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

test.run();
