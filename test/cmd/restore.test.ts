import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Pace } from '../../cmd/progress.js';
import { parseTimeOption } from '../../cmd/time-option.js';
import { filledStore, folderPlace } from '../backup/scenario.js';
import { withWorkbench } from '../backup/workbench.js';
import { runSluice } from './run-sluice.js';

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));

interface Filled {
  readonly folder: string;
  readonly source: string;
  readonly images: ReadonlyMap<number, Buffer>;
}

/** A store of `app.db` with ends at TXID 1, 2, 5 and 8, a second apart each; see filledStore. */
function withStore(body: (filled: Filled) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { images } = await filledStore(bench, place);
    await body({ folder: bench.folder, source: `${place.url}/app.db`, images });
  });
}

test('a restore to a time says what it chose, and what comes next', () =>
  withStore(async ({ folder, source, images }) => {
    const run = await runSluice(['restore', '--timestamp', '2023-11-14T23:13:24+01:00', source], folder);
    assert.is(run.code, 0, run.stderr);
    assert.ok(readFileSync(join(folder, 'app.db')).equals(images.get(2)!));
    assert.match(run.stdout, 'at TXID 0000000000000002 of 2023-11-14T22:13:22.000Z');
    assert.match(
      run.stdout,
      'the newest state at or before that time is of 2023-11-14T22:13:22.000Z; the next one is TXID 0000000000000005 of 2023-11-14T22:13:25.000Z\n',
    );
    const json = await runSluice(['restore', '--force', '--json', '--timestamp', '1 hour ago', source], folder);
    const { txid, nextTime, clockWentBack, leftOut } = JSON.parse(json.stdout);
    assert.equal([txid, nextTime, clockWentBack, leftOut], ['0000000000000008', null, false, []]);
  }));

test('a dry run tells the plan and makes nothing', () =>
  withStore(async ({ folder, source }) => {
    const run = await runSluice(['restore', '--dry-run', '--txid', '4', source], folder);
    const lines = run.stdout.split('\n');
    assert.match(lines[0]!, /^LEVEL {2}FROM TXID +TO TXID +SIZE +STORED$/);
    assert.match(lines[1]!, /^9 +0{15}1 +0{15}1 +[\d.]+ \w+ +2023-11-14T22:13:21\.000Z$/);
    assert.match(lines[2]!, /^0 +0{15}2 +0{15}2 /);
    assert.match(lines[3]!, /^to TXID 0{15}2: 2 files, .*, 2 requests; nothing was restored$/);
    assert.match(lines[4]!, 'this is the nearest before it; the next one there is 0000000000000005');
    const plan = JSON.parse((await runSluice(['restore', '--dry-run', '--json', source], folder)).stdout);
    assert.equal([plan.txid, plan.requests, plan.files.length, plan.exact], ['0000000000000008', 4, 4, true]);
    assert.is(
      plan.bytes,
      plan.files.reduce((sum: number, file: { sizeBytes: number }) => sum + file.sizeBytes, 0),
    );
    assert.not(existsSync(join(folder, 'app.db')));
  }));

test('to the standard output, checked by SQLite first; nothing is left', () =>
  withStore(async ({ folder, source, images }) => {
    const env = { ...process.env, TMPDIR: folder };
    const before = readdirSync(folder);
    const args = [SLUICE, 'restore', '--to-stdout', '--verify', 'full', '--txid', '5', source];
    const run = spawnSync(process.execPath, args, { env, maxBuffer: 100_000_000, timeout: 60_000 });
    assert.is(run.status, 0, run.stderr.toString());
    assert.ok(run.stdout.equals(images.get(5)!));
    assert.match(run.stderr.toString(), /SQLite checks the database\nstandard output: .* and SQLite finds it whole\n/);
    assert.equal(readdirSync(folder), before);
  }));

test('no database is written to a terminal', () =>
  withStore(async ({ folder, source }) => {
    const command = `'${process.execPath}' '${SLUICE}' restore --to-stdout '${source}'`;
    const run = spawnSync('script', ['-qec', command, '/dev/null'], { cwd: folder, timeout: 60_000 });
    if (run.error !== undefined) {
      console.log('skipped: there is no script(1)');
      return;
    }
    assert.match(run.stdout.toString(), 'a database is not written to a terminal. Redirect the output');
    assert.not(run.stdout.includes('SQLite format 3'));
  }));

test('a reader that goes away is told in one line', () =>
  withStore(async ({ folder, source }) => {
    const command = `'${process.execPath}' '${SLUICE}' restore --to-stdout '${source}' | true; exit \${PIPESTATUS[0]}`;
    const run = spawnSync('bash', ['-c', command], { cwd: folder, timeout: 60_000 });
    assert.is(run.status, 1);
    assert.match(run.stderr.toString(), /sluice: cannot write the database out: .*EPIPE\n$/);
  }));

const WRONG: [string[], string][] = [
  [['--timestamp', 'noon'], 'Want a time with its zone like 2026-03-01T14:03:00Z, or "2 hours ago"'],
  [['--timestamp', '2026-03-01T14:03:00'], 'Want a time with its zone'],
  [
    ['--timestamp', '1 hour ago', '--txid', '1'],
    "option '--timestamp <time>' cannot be used with option '--txid <txid>'",
  ],
  [['--to-stdout', '-o', 'x'], "option '--to-stdout' cannot be used with option '-o, --output <path>'"],
  [['--parallel', '0'], 'Want a number from 1 to 64'],
  [['--verify', 'some'], 'Allowed choices are quick, full'],
];

for (const [args, message] of WRONG) {
  test(`restore ${args.join(' ')} is refused`, async () => {
    const run = await runSluice(['restore', ...args, 'file:///nonexistent'], '/');
    assert.is(run.code, 2);
    assert.match(run.stderr, message);
  });
}

test('times', () => {
  const now = Date.UTC(2026, 2, 1, 12);
  assert.is(parseTimeOption('2026-03-01T14:03:00Z'), Date.UTC(2026, 2, 1, 14, 3));
  assert.is(parseTimeOption('2026-03-01 14:03:00.5+02:00'), Date.UTC(2026, 2, 1, 12, 3, 0, 500));
  assert.is(parseTimeOption('1 hour ago', now), now - 3_600_000);
  assert.is(parseTimeOption('90 seconds ago', now), now - 90_000);
  assert.is(parseTimeOption('3 days ago', now), now - 3 * 86_400_000);
  for (const wrong of ['2026-13-01T00:00:00Z', '-1 days ago', '2 weeks ago', '']) {
    assert.throws(() => parseTimeOption(wrong), /Want a time/);
  }
});

test('how fast it gets on', () => {
  let nowMs = 0;
  const pace = new Pace(() => nowMs);
  assert.is(pace.describe(0, 1000), '');
  nowMs = 2000;
  assert.is(pace.describe(2 * 1024 * 1024, 202 * 1024 * 1024), '1 MiB/s, 3 min 20 s left');
  nowMs = 4000;
  assert.is(pace.describe(1024 * 1024, 202 * 1024 * 1024), '');
  nowMs = 5000;
  assert.is(pace.describe(3 * 1024 * 1024, 7 * 1024 * 1024), '2 MiB/s, 2 s left');
});

test.run();
