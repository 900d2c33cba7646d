import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RestartPolicy } from '../../src/keeper/restart-policy.js';
import { HASTEN, KILL, STOP, StopRequest } from '../../src/keeper/stop-request.js';

const test = suite('keeper/restart-policy');

test('at once, then a back-off that doubles up to five seconds, then no more', () => {
  const policy = new RestartPolicy();
  const delays = Array.from({ length: 10 }, (_, i) => policy.died(i * 1000));
  assert.equal(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, undefined]);
});

test('deaths of more than a minute ago are forgotten', () => {
  const policy = new RestartPolicy();
  for (let i = 0; i < 100; i++) assert.is(policy.died(i * 60_001), 0);
  assert.is(policy.died(99 * 60_001 + 1), 100);
});

test('the wish to stop only grows, and wakes who waits for it', async () => {
  const stop = new StopRequest();
  const heard: string[] = [];
  void stop.reached(STOP).then(() => heard.push('stop'));
  void stop.reached(KILL).then(() => heard.push('kill'));
  stop.raise();
  await stop.reached(STOP);
  assert.equal([stop.level, heard], [STOP, ['stop']]);
  stop.raiseTo(HASTEN);
  stop.raiseTo(STOP);
  assert.is(stop.level, HASTEN);
  stop.raise();
  stop.raise();
  await stop.reached(KILL);
  assert.equal([stop.level, heard], [KILL, ['stop', 'kill']]);
});

test.run();
