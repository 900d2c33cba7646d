import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readKeeperState } from '../../src/keeper/index.js';
import { Upgrade } from '../../src/keeper/upgrade.js';

const test = suite('the state of an upgrade');

const OLD = { pid: 11, version: '1.0.0' };
const NEW = { pid: 12, version: '1.1.0' };
const LATER = { pid: 13, version: '1.1.0' };

test('it is done when the new node is ready, or a later one, and not by a late word of the old one', () => {
  const data = mkdtempSync(join(tmpdir(), 'sluice-upgrade-'));
  try {
    const said: string[] = [];
    const upgrade = new Upgrade(data, (message) => said.push(message));
    const state = () => readKeeperState(data)?.upgrade;
    upgrade.begin(OLD);
    upgrade.ready(OLD);
    assert.is(state()?.state, 'running');
    upgrade.paused(100);
    upgrade.answered(NEW, 107);
    upgrade.answered(LATER, 150);
    upgrade.ready(NEW);
    assert.is(state()?.state, 'running', 'that one is gone');
    assert.ok(upgrade.unproven);
    upgrade.ready(LATER);
    assert.equal([state()?.state, state()?.to, state()?.pauseMs], ['done', LATER, 50]);
    assert.not.ok(upgrade.unproven);
    assert.is(said.length, 1);
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
});

test.run();
