import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createKeyFile, readKeyFile } from '../../src/backup/index.js';
import type { SluiceError } from '../../src/errors.js';
import { runSluice } from '../cmd/run-sluice.js';
import { withWorkbench } from './workbench.js';

const HEX = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';

function failure(action: () => unknown): SluiceError {
  try {
    action();
  } catch (error) {
    return error as SluiceError;
  }
  throw new Error('it did not fail');
}

test('a key file is made for its owner alone, read again, and never replaced', () =>
  withWorkbench(async ({ folder }) => {
    const path = join(folder, 'backup.key');
    const made = createKeyFile(path);
    assert.is(statSync(path).mode & 0o777, 0o600);
    assert.equal(readKeyFile(path), made);
    const before = readFileSync(path);
    const error = failure(() => createKeyFile(path));
    assert.is(error.code, 'STORE_KEY');
    assert.match(error.message, /exists already/);
    assert.ok(readFileSync(path).equals(before));
  }));

test('hex and base64 are the same key, with or without comments', () =>
  withWorkbench(async ({ folder }) => {
    const path = join(folder, 'k');
    const base64 = Buffer.from(HEX, 'hex').toString('base64');
    for (const text of [HEX, `${HEX.toUpperCase()}\r\n`, `# made by hand\n\n  ${base64}\n`, base64.replace('=', '')]) {
      writeFileSync(path, text);
      const key = readKeyFile(path);
      assert.is(Buffer.from(key.bytes).toString('hex'), HEX);
      // By openssl kdf -keylen 8 -kdfopt digest:SHA256 -kdfopt hexkey:… -kdfopt info:'sluice backup key id' HKDF
      assert.is(key.id, KEY_ID);
    }
  }));

const KEY_ID = '0a7d11ecaaaa16d4';

test('what is no key file is told, without what it holds', () =>
  withWorkbench(async ({ folder }) => {
    const path = join(folder, 'k');
    for (const text of [
      '',
      'hunter2',
      HEX.slice(1),
      `${HEX}00`,
      `${HEX}\n${HEX}`,
      'A'.repeat(42),
      'x'.repeat(10_000),
    ]) {
      writeFileSync(path, text);
      const error = failure(() => readKeyFile(path));
      assert.is(error.code, 'STORE_KEY');
      assert.match(error.message, /is no key file: it wants 64 hex digits/);
      assert.not.match(error.message, /hunter2/);
    }
    const missing = failure(() => readKeyFile(join(folder, 'nope')));
    assert.is(missing.code, 'STORE_KEY');
    assert.match(missing.hint, /sluice backup key/);
    assert.is(failure(() => readKeyFile(folder)).code, 'STORE_KEY');
  }));

test('sluice backup key', () =>
  withWorkbench(async ({ folder }) => {
    const path = join(folder, 'backup.key');
    const made = await runSluice(['backup', 'key', 'backup.key'], folder);
    assert.is(made.stderr, '');
    const { id, bytes } = readKeyFile(path);
    assert.match(made.stdout, new RegExp(`a new key, ${id}`));
    assert.ok(made.stdout.includes(`key: ${path}`));
    assert.not.ok(made.stdout.includes(Buffer.from(bytes).toString('hex')), 'the key itself is not shown');
    assert.is((await runSluice(['backup', 'key', '--id', 'backup.key'], folder)).stdout, `backup.key: key ${id}\n`);
    const again = await runSluice(['backup', 'key', 'backup.key'], folder);
    assert.is(again.code, 1);
    assert.is(again.stderr, 'sluice: backup.key exists already: a key is never replaced. Choose another name\n');
  }));

test.run();
