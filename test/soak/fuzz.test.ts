import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Mutator } from './fuzz/mutator.js';
import { Random } from './fuzz/random.js';
import { TARGETS } from './fuzz/targets.js';

// Time limit: 10 min

/** The short form of `npm run soak -- fuzz`, and the inputs that ever failed. */
const test = suite('hostile bytes');
const SEED = 1;
const PROGRAM = fileURLToPath(new URL('fuzz/index.js', import.meta.url));
const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/fuzz/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sluice-fuzz-test-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('some hostile bytes for each decoder', () => {
  const args = [PROGRAM, '--quick', '--seed', String(SEED)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.is(status, 0, stdout + stderr);
  for (const { name } of TARGETS) assert.match(stdout, new RegExp(`^${name} +\\d+ inputs .* 0 failures$`, 'm'));
});

for (const name of readdirSync(FIXTURES).filter((each) => each !== 'README.md')) {
  test(`what once failed: ${name}`, async () => {
    const entry = TARGETS.find((each) => each.name === name);
    assert.ok(entry !== undefined, `no target ${name}`);
    const target = await (await entry.load()).open(mkdtempSync(join(folder, `${name}-`)));
    const files = readdirSync(join(FIXTURES, name));
    assert.ok(files.length > 0);
    for (const file of files) await target.run(readFileSync(join(FIXTURES, name, file)));
    target.close?.();
  });
}

test('a seed decides the changes', () => {
  const run = (seed: number): string => {
    const mutator = new Mutator(new Random(seed), [Buffer.from('word')], 100);
    const inputs = Array.from({ length: 50 }, () => mutator.mutate(Buffer.alloc(20), () => Buffer.from('other input')));
    assert.ok(inputs.every((input) => input.length <= 100));
    return Buffer.concat(inputs).toString('hex');
  };
  assert.is(run(5), run(5));
  assert.is.not(run(5), run(6));
});

test('what fails is reported, with how to see it again', () => {
  const input = join(folder, 'bad');
  const args = [PROGRAM, '--target', 'none'];
  const unknown = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.is(unknown.status, 1);
  assert.match(unknown.stderr, /targets: fuse, messages/);
  const missing = spawnSync(process.execPath, [PROGRAM, '--target', 'names', '--input', input], { encoding: 'utf8' });
  assert.is(missing.status, 1);
});

test.run();
