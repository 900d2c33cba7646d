import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  formatDuration,
  formatListen,
  formatSize,
  isLoopback,
  parseDuration,
  parseListen,
  parseSize,
} from '../../src/config/index.js';

const test = suite('config/units');

test('durations', () => {
  const cases: readonly (readonly [string, number | undefined])[] = [
    ['500ms', 500],
    ['1s', 1000],
    ['1.5s', 1500],
    ['10m', 600_000],
    ['24h', 86_400_000],
    ['7 d', 604_800_000],
    ['0s', 0],
    ['10', undefined],
    ['s', undefined],
    ['-1s', undefined],
    ['1 fortnight', undefined],
    ['1constructor', undefined],
    ['1e3s', undefined],
    ['99999999999999999d', undefined],
    ['', undefined],
  ];
  for (const [text, ms] of cases) assert.is(parseDuration(text), ms, text);
});

test('sizes', () => {
  const cases: readonly (readonly [string, number | undefined])[] = [
    ['4096B', 4096],
    ['1kB', 1000],
    ['256MiB', 268_435_456],
    ['1.5GiB', 1_610_612_736],
    ['2GB', 2_000_000_000],
    ['4096', undefined],
    ['1mib', undefined],
    ['MiB', undefined],
  ];
  for (const [text, bytes] of cases) assert.is(parseSize(text), bytes, text);
});

test('durations and sizes for people', () => {
  assert.equal([0, 999, 1000, 2500, 60_000, 3_600_000, 86_400_000, 259_200_000].map(formatDuration), [
    '0 ms',
    '999 ms',
    '1 s',
    '2.5 s',
    '1 min',
    '1 h',
    '24 h',
    '3 d',
  ]);
  assert.equal([0, 1023, 1024, 1536, 2 ** 40, 5 * 2 ** 50].map(formatSize), [
    '0 B',
    '1023 B',
    '1 KiB',
    '1.5 KiB',
    '1 TiB',
    '5120 TiB',
  ]);
});

test('addresses', () => {
  assert.equal(parseListen('127.0.0.1:20202'), { host: '127.0.0.1', port: 20202 });
  assert.equal(parseListen('[fe80::1%eth0]:1'), { host: 'fe80::1%eth0', port: 1 });
  assert.equal(parseListen('localhost:0'), { host: 'localhost', port: 0 });
  for (const bad of ['', '1', ':1', '::1', '::1:1', 'a:b', 'a:1/x', '[::1]', 'a:65536', 'http://a:1']) {
    assert.is(parseListen(bad), undefined, bad);
  }
  assert.is(formatListen({ host: '::1', port: 2 }), '[::1]:2');
  assert.is(formatListen({ host: 'a', port: 2 }), 'a:2');
});

test('loopback', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost', 'LOCALHOST', '::ffff:127.0.0.1']) {
    assert.ok(isLoopback(host), host);
  }
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.example', 'localhost.example', '1270.0.0.1']) {
    assert.not.ok(isLoopback(host), host);
  }
});

test.run();
