import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { keysOf, ownSecret } from '../../src/proxy/keys.js';
import { cleanUp, freshFolder } from '../support/cluster.js';

const test = suite('proxy/keys');
test.after(cleanUp);

test('one token, one set of keys, each for its own use', () => {
  const [one, same, other] = [keysOf('token'), keysOf('token'), keysOf('Token')];
  assert.equal(one, same);
  assert.not.equal(one.bookmark, one.mark);
  assert.not.equal(one.bookmark, other.bookmark);
});

test('without a token a node makes a secret once, for its own user', () => {
  const folder = freshFolder('keys');
  const secret = ownSecret(folder);
  assert.is(secret.length, 32);
  assert.equal(ownSecret(folder), secret);
  assert.is(statSync(join(folder, 'proxy.key')).mode & 0o777, 0o600);
  assert.equal(readdirSync(folder), ['proxy.key']);
  assert.not.equal(ownSecret(freshFolder('keys')), secret);
});

test('one that a crash cut short is made anew', () => {
  const folder = freshFolder('keys');
  writeFileSync(join(folder, 'proxy.key'), 'short');
  assert.is(ownSecret(folder).length, 32);
});

test.run();
