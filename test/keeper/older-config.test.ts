import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/config/load.js';
import { awaitsAny } from '../../src/durability/index.js';
import { completeConfig } from '../../src/keeper/older-config.js';

const test = suite('the configuration of an older keeper');

const CONFIG = loadConfig({ cwd: '/', env: {} });

test('what it does not know is off', () => {
  const { writes: _writes, proxy: _proxy, durability: _durability, ...older } = CONFIG;
  const completed = completeConfig(older);
  assert.equal([completed.writes.forward, completed.proxy, awaitsAny(completed.durability)], [false, null, false]);
  // And has all that the rest of the node asks for.
  for (const key of Object.keys(CONFIG.writes)) assert.ok(key in completed.writes, key);
  assert.equal(completed.durability, CONFIG.durability);
});

test('what it says holds', () => {
  const durability = { ...CONFIG.durability, until: 'replicas' as const, replicas: 2 };
  const config = { ...CONFIG, durability };
  assert.equal(completeConfig(config), config);
});

test.run();
