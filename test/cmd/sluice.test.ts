import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeLtx } from '../../src/ltx/index.js';
import { PRIMARY } from '../http/status-fixture.js';
import { runSluice } from './run-sluice.js';

const folder = mkdtempSync(join(tmpdir(), 'sluice-cmd-'));
const servers: Server[] = [];

/** A node that answers every request in one way. */
function fakeNode(code: number, body: string, token?: string): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer((request, response) => {
      const refused = token !== undefined && request.headers.authorization !== `Bearer ${token}`;
      response.writeHead(refused ? 401 : code).end(body);
    });
    servers.push(server);
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
}

const SUB_COMMANDS = [
  'mount',
  'upgrade',
  'status',
  'restore',
  'verify',
  'backup',
  'ltx',
  'config',
  'doctor',
  'version',
];

const test = suite('cmd/sluice');

test('--help names every sub-command and has examples', async () => {
  const { code, stdout } = await runSluice(['--help'], folder);
  assert.is(code, 0);
  for (const name of SUB_COMMANDS) assert.match(stdout, new RegExp(`^ {2}${name}\\b`, 'm'));
  assert.match(stdout, /Examples:/);
});

for (const words of [
  ['mount'],
  ['upgrade'],
  ['status'],
  ['restore'],
  ['verify'],
  ['backup', 'key'],
  ['ltx', 'dump'],
  ['ltx', 'verify'],
  ['config', 'check'],
  ['doctor'],
  ['version'],
]) {
  test(`${words.join(' ')} --help has examples`, async () => {
    const { code, stdout, stderr } = await runSluice([...words, '--help'], folder);
    assert.is(code, 0);
    assert.is(stderr, '');
    assert.match(stdout, new RegExp(`Examples:\\n {2}sluice ${words.join(' ')}`));
  });
}

const USAGE: readonly (readonly [string[], string])[] = [
  [['mont'], "sluice: unknown command 'mont' (Did you mean mount?). See sluice --help\n"],
  [['mount', '--confg', 'x'], "sluice: unknown option '--confg' (Did you mean --config?). See sluice mount --help\n"],
  [['restore'], "sluice: missing required argument 'source'. See sluice restore --help\n"],
  [['ltx', 'verify'], "sluice: missing required argument 'files'. See sluice ltx verify --help\n"],
  [
    ['restore', '--txid', 'zz', 'file:///x/y'],
    "sluice: option '--txid <txid>' argument 'zz' is invalid. Want a TXID in hex as sluice status shows it, like 2a. See sluice restore --help\n",
  ],
];

for (const [args, expected] of USAGE) {
  test(`sluice ${args.join(' ')}: usage error, exit code 2`, async () => {
    const { code, stdout, stderr } = await runSluice(args, folder);
    assert.is(stderr, expected);
    assert.is(stdout, '');
    assert.is(code, 2);
  });
}

test('without arguments: the help, exit code 2', async () => {
  const { code, stderr } = await runSluice([], folder);
  assert.is(code, 2);
  assert.match(stderr, /^Usage: sluice/);
});

test('version, --version', async () => {
  const { stdout } = await runSluice(['version', '--json'], folder);
  const version = JSON.parse(stdout);
  assert.match(version.sluice, /^\d+\.\d+\.\d+/);
  assert.is(version.node, process.versions.node);
  assert.match((await runSluice(['--version'], folder)).stdout, /^sluice \d/);
});

test('config check: every problem with its place, exit code 1', async () => {
  writeFileSync(join(folder, 'bad.yml'), 'datta: x\nlog: { level: loud }\n');
  const { code, stdout, stderr } = await runSluice(['config', 'check', '-c', 'bad.yml'], folder);
  assert.is(code, 1);
  assert.is(stdout, '');
  assert.is(
    stderr,
    'bad.yml:1:1: datta: unknown key; did you mean data?\n' +
      'bad.yml:2:15: log.level: got "loud"; want one of trace, debug, info, warn, error, fatal, silent\n',
  );
  const asJson = await runSluice(['config', 'check', '-c', 'bad.yml', '--json'], folder);
  assert.is(asJson.code, 1);
  assert.equal(JSON.parse(asJson.stdout).problems.length, 2);
});

test('config check --json: what holds, secrets masked', async () => {
  writeFileSync(join(folder, 'good.yml'), `data: ./d\nhttp: { token: "\${T}" }\n`);
  const { code, stdout } = await runSluice(['config', 'check', '-c', 'good.yml', '--json'], folder, { T: 'hush' });
  assert.is(code, 0);
  assert.is(JSON.parse(stdout).data, join(folder, 'd'));
  assert.is(JSON.parse(stdout).http.token, '***');
  assert.not.match(stdout, /hush/);
});

test('errors are one line without a stack; SLUICE_DEBUG shows it', async () => {
  const args = ['config', 'check', '-c', 'nope.yml'];
  const plain = await runSluice(args, folder);
  assert.is(plain.code, 1);
  assert.is(plain.stderr, 'sluice: no config file nope.yml. Check the path after -c\n');
  assert.match((await runSluice(args, folder, { SLUICE_DEBUG: '1' })).stderr, /\n {4}at /);
});

test('status for people and as JSON', async () => {
  const url = await fakeNode(200, JSON.stringify(PRIMARY));
  const { code, stdout } = await runSluice(['status', '--url', url], folder);
  assert.is(code, 0);
  assert.match(stdout, /^primary 00c0ffee {2}ready, up /);
  assert.match(stdout, /^mount {4}\/mnt\/app \(kernel locks, WALs written by the kernel\)$/m);
  assert.match(
    stdout,
    /^app\.db {4}ok {5}2a\/8000000000000001 {2}12 KiB +wal +4\.1 KiB +- +1\.\.2a, 2 KiB {2}1 replica; 5 returned without$/m,
  );
  assert.match(stdout, /^0badcafe {2}127\.0\.0\.1:5000 {2}3 ms +17 B +app\.db 29 live$/m);
  assert.match(stdout, /^file:\/\/\/backup .* app\.db 28 \(lag 900 ms\)$/m);
  assert.match(stdout, /^files that are no databases, kept here only: notes\.txt$/m);
  const asJson = await runSluice(['status', '--json', '--url', url], folder);
  assert.equal(JSON.parse(asJson.stdout), PRIMARY);
});

test('status takes address and token from the config', async () => {
  const url = await fakeNode(200, JSON.stringify(PRIMARY), 'hush');
  writeFileSync(join(folder, 'sluice.yml'), `http: { listen: "${new URL(url).host}", token: hush }\n`);
  assert.is((await runSluice(['status', '--json'], folder)).code, 0);
  rmSync(join(folder, 'sluice.yml'));
  const refused = await runSluice(['status', '--url', url], folder);
  assert.is(
    refused.stderr,
    `sluice: the node at ${new URL(url).host} wants its token. Give it with --token or $SLUICE_TOKEN\n`,
  );
  assert.is((await runSluice(['status', '--url', url], folder, { SLUICE_TOKEN: 'hush' })).code, 0);
});

test('status says what is wrong when there is no answer, or a strange one', async () => {
  const starting = await fakeNode(503, '{"error":"starting"}');
  const strange = await fakeNode(200, '<html>');
  const closed = new URL(await fakeNode(200, '')).host;
  const server = servers.pop()!;
  await new Promise((resolve) => server.close(resolve));
  const cases: readonly (readonly [string, string])[] = [
    [starting, `sluice: the node at ${new URL(starting).host} is still starting. Try again in a moment\n`],
    [strange, `sluice: what answers at ${new URL(strange).host} is no sluice node (HTTP 200). Check --url\n`],
    [
      `http://${closed}`,
      `sluice: no node answers at ${closed} (ECONNREFUSED). Start one with sluice mount, or name another with --url or -c\n`,
    ],
    ['nonsense', 'sluice: no address of a node: nonsense. Write it like http://127.0.0.1:20202\n'],
  ];
  for (const [url, message] of cases) {
    const { code, stderr } = await runSluice(['status', '--url', url], folder);
    assert.is(stderr, message);
    assert.is(code, 1);
  }
});

test('a token that cannot be sent is said to be one, and is not shown', async () => {
  const { code, stderr } = await runSluice(['status', '--url', 'http://127.0.0.1:1'], folder, {
    SLUICE_TOKEN: 'hush-hush\n',
  });
  assert.is(code, 1);
  assert.is(
    stderr,
    'sluice: the token has a space, a line break or a character outside ASCII. A token from a file often has a line break at its end: leave it out\n',
  );
});

test('ltx dump and verify; a damaged file does not hide the others', async () => {
  const page = (fill: number) => Buffer.alloc(512, fill);
  const header = { pageSize: 512, commit: 2, minTxid: 1, maxTxid: 1, timestampMs: 1e12, preApply: 0n, postApply: 0n };
  const good = encodeLtx(header, [
    { pgno: 1, data: page(1) },
    { pgno: 2, data: page(2) },
  ]);
  writeFileSync(join(folder, 'good.ltx'), good);
  const bad = Buffer.from(good);
  bad[150]! ^= 1;
  writeFileSync(join(folder, 'bad.ltx'), bad);
  const dump = await runSluice(['ltx', 'dump', 'good.ltx'], folder);
  assert.is(dump.code, 0);
  assert.match(dump.stdout, /^pages {10}2: 1-2$/m);
  const verify = await runSluice(['ltx', 'verify', 'bad.ltx', 'good.ltx', 'none.ltx'], folder);
  assert.is(verify.code, 1);
  assert.is(verify.stdout, 'good.ltx: ok, TXID 0000000000000001-0000000000000001, 2 pages\n');
  assert.match(verify.stderr, /^sluice: bad\.ltx: .+\nsluice: none\.ltx: cannot be read \(ENOENT\)\n$/);
  const asJson = await runSluice(['ltx', 'verify', '--json', 'bad.ltx', 'good.ltx'], folder);
  assert.equal(
    asJson.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).ok),
    [false, true],
  );
});

test('restore says what is wrong with its source', async () => {
  const none = await runSluice(['restore', 'file:///nonexistent/app.db'], folder);
  assert.is(none.code, 1);
  assert.match(none.stderr, /^sluice: file:\/\/\/nonexistent\/app\.db: there is no backup\. An address is .+\n$/);
  const strange = await runSluice(['restore', 'ftp://x'], folder);
  assert.is(strange.code, 1);
  assert.match(strange.stderr, /^sluice: "ftp:\/\/x" is not a store address\. /);
});

test('doctor looks at everything', async () => {
  const { stdout } = await runSluice(['doctor', '--json'], folder);
  const subjects = JSON.parse(stdout).map((finding: { subject: string }) => finding.subject);
  for (const subject of [
    'node',
    'kernel',
    'memory',
    'sqlite',
    'driver',
    'fuse',
    'device',
    'mount',
    'wake-ups',
    'disk',
    'clock',
  ]) {
    assert.ok(subjects.includes(subject), subject);
  }
});

test.after(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});
test.run();
