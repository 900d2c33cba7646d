import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DurabilityConfig, DurabilityRule } from '../../src/config/index.js';
import { awaitsAny, isAwaited, ruleFor } from '../../src/durability/index.js';

const test = suite('durability/rules');

const LOCAL: DurabilityRule = { until: 'local', replicas: 0, timeoutMs: 5000, onTimeout: 'degrade' };
const rule = (replicas: number): DurabilityRule => ({ ...LOCAL, until: 'replicas', replicas });

test('a name counts before a pattern, a pattern before those after it, and what holds for all last', () => {
  const config: DurabilityConfig = {
    ...rule(1),
    databases: [
      { pattern: 'a/*', ...rule(2) },
      { pattern: '**/x.db', ...rule(3) },
      { pattern: 'a/x.db', ...rule(4) },
      { pattern: 't?[.db', ...LOCAL },
    ],
  };
  const count = (name: string) => ruleFor(config, name).replicas;
  assert.is(count('a/x.db'), 4);
  assert.is(count('a/y.db'), 2);
  assert.is(count('a/b/y.db'), 1);
  assert.is(count('a/b/x.db'), 3);
  assert.is(count('x.db'), 1);
  assert.is(count('t?[.db'), 0);
  assert.is(count('ta[.db'), 1);
  assert.not(isAwaited(config, 't?[.db'));
  assert.ok(isAwaited(config, 'other.db'));
});

test('whether any database may wait', () => {
  assert.not(awaitsAny({ ...LOCAL, databases: [{ pattern: 'a', ...LOCAL }] }));
  assert.ok(awaitsAny({ ...LOCAL, databases: [{ pattern: 'a', ...rule(1) }] }));
  assert.ok(awaitsAny({ ...rule(1), databases: [] }));
});

test.run();
