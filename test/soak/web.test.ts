// Time limit: 10 min
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Random, testSeed } from '../database/support/random.js';
import { stopAll } from '../support/cluster.js';
import { Browser } from './web/browser.js';
import { WebCampaign } from './web/campaign.js';

/** The short form of `npm run soak -- web`, and whether its browsers find what is wrong. */

const test = suite('who writes by HTTP reads it on every node');
test.after(stopAll);

test('with nodes that are stopped and killed', async () => {
  const options = { rounds: 1, seconds: 12, seed: testSeed(), browsers: 6, report: () => undefined };
  const browsers = await new WebCampaign(options).run();
  const where = new Set(browsers.flatMap(({ seen }) => [...seen.reads.keys()]));
  assert.equal([...where].sort(), ['primary', 'replica 1', 'replica 2'], 'reads were answered on each node');
  assert.ok(browsers.every(({ seen }) => seen.writes > 0));
});

test('a site that forgets is found out', async () => {
  let value = '0';
  let writes = 0;
  const server = createServer((request, response) => {
    // Every fifth write is acknowledged, and not kept.
    if (request.method === 'POST' && ++writes % 5 !== 0) value = request.url!.split('/')[2]!;
    response.end(value);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const browser = new Browser('a', [`http://127.0.0.1:${port}`], new Random(1));
  await browser.work(performance.now() + 3000);
  server.closeAllConnections();
  server.close();
  assert.ok(browser.wrong.length > 0);
});

test.run();
