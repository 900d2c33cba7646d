import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { flyReplayOf } from '../../src/proxy/fly-replay.js';

const test = suite('proxy/fly-replay');
const MACHINE = 'http://148e21e7b60e89.vm.my-app.internal:8080';

for (const [setting, primary, isReplayed, value] of [
  [null, MACHINE, false, undefined],
  ['region=fra', null, false, 'region=fra'],
  ['region=fra', MACHINE, true, undefined],
  ['instance', MACHINE, false, 'instance=148e21e7b60e89'],
  ['instance', MACHINE, true, undefined],
  ['instance', 'http://10.0.0.1:8080', false, undefined],
  ['instance', null, false, undefined],
] as const) {
  test(`${setting}, ${primary}, replayed ${isReplayed}: ${value}`, () => {
    assert.is(flyReplayOf(setting, primary, isReplayed), value);
  });
}

test.run();
