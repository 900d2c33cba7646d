import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseStoreUrl } from '../../src/backup/index.js';
import { type Config, ConfigError, formatProblem, maskConfig } from '../../src/config/index.js';
import { loadConfig } from '../../src/config/load.js';
import { DataFolder } from '../../src/database/index.js';

const folder = mkdtempSync(join(tmpdir(), 'sluice-config-'));

function load(yaml: string, env: Record<string, string> = {}): Config {
  writeFileSync(join(folder, 'sluice.yml'), yaml);
  return loadConfig({ file: 'sluice.yml', cwd: folder, env });
}

function problems(yaml: string, env: Record<string, string> = {}): string[] {
  try {
    load(yaml, env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
  return [];
}

const test = suite('config/load');

const DEFAULT_STORE = {
  intervalMs: 1000,
  levelsMs: [30_000, 300_000, 3_600_000],
  snapshotMs: 86_400_000,
  retain: { ageMs: 604_800_000, snapshots: 2, fineMs: 3_600_000 },
  verifyMs: null,
  keyFile: null,
};

test('without a file the defaults hold, relative to the working folder', () => {
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  assert.equal(loadConfig({ cwd: empty, env: {} }), {
    file: null,
    data: join(empty, 'data'),
    mount: { path: join(empty, 'data/mnt'), driver: 'auto', locks: 'auto', wakeups: 'auto', passthrough: 'on' },
    http: { listen: { host: '127.0.0.1', port: 20202 }, token: null, healthLagMs: 10_000 },
    lease: { type: 'static', role: 'primary', primary: null, advertise: null },
    replication: {
      listen: { host: '127.0.0.1', port: 20203 },
      token: null,
      retain: { ageMs: 86_400_000, sizeBytes: 268_435_456 },
      heartbeatMs: 1000,
      upstream: 'primary',
    },
    writes: {
      forward: true,
      waitMs: 5000,
      keepMs: 10,
      commitMs: 30_000,
      turnMs: 2000,
      holdMs: 30_000,
      silenceMs: 5000,
      holdByHandMs: 600_000,
    },
    proxy: null,
    durability: { until: 'local', replicas: 0, timeoutMs: 5000, onTimeout: 'degrade', databases: [] },
    backup: [],
    restore: 'never',
    log: { level: 'info', format: 'auto' },
    exec: null,
  });
});

test('an empty file and sections without keys are the defaults too', () => {
  const defaults = { ...load(''), file: '' };
  assert.equal({ ...load('# nothing\n'), file: '' }, defaults);
  assert.equal({ ...load('http:\nlease:\nbackup:\nmount:\n'), file: '' }, defaults);
});

test('every key is read', () => {
  const config = load(`
data: /srv/data
mount: { path: /srv/mnt, driver: raw, locks: kernel, wakeups: always, passthrough: off }
http: { listen: "[::1]:8080", token: t1, healthLag: 500ms }
lease: { type: static, role: replica, primary: "wss://p.example:20203", advertise: "ws://me:1" }
replication: { listen: "off", token: t2, retain: { age: 1h, size: 1GiB }, heartbeat: 250ms, upstream: store }
proxy:
  listen: 0.0.0.0:8080
  target: 127.0.0.1:3000
  advertise: http://10.0.0.2:8080
  primary: https://p.example
  databases: [app.db]
  passthrough: ["*.css"]
  alwaysForward: [/api/admin/*]
  flyReplay: region=fra
  trustForwarded: true
  waitLimit: 1s
  afterWait: 504
  primaryWait: 2s
  settleLimit: 3s
  connectTimeout: 4s
  responseTimeout: 30s
  idleTimeout: 2m
  drainLimit: 20s
  maxConnections: 100
  cookie: { name: seen, maxAge: 60s, secure: true }
  header: X-Seen
restore: if-missing
backup:
  - url: file:///srv/backup
    interval: 5s
    levels: [1m, 1h]
    snapshot: 12h
    retain: { age: 30d, snapshots: 5, fine: 10m }
    verify: 6h
    encryption: { key: ./backup.key }
  - url: s3://bucket/path
    endpoint: http://127.0.0.1:7070
    region: eu-central-1
    pathStyle: true
    accessKeyId: id
    secretAccessKey: secret
    profile: prod
    sse: aws:kms
    sseKeyId: some-key
    caFile: ./ca.pem
log: { level: debug, format: json }
exec: [npm, start]
`);
  assert.equal(config, {
    file: join(folder, 'sluice.yml'),
    data: '/srv/data',
    mount: { path: '/srv/mnt', driver: 'raw', locks: 'kernel', wakeups: 'always', passthrough: 'off' },
    http: { listen: { host: '::1', port: 8080 }, token: 't1', healthLagMs: 500 },
    lease: { type: 'static', role: 'replica', primary: 'wss://p.example:20203', advertise: 'ws://me:1' },
    replication: {
      listen: null,
      token: 't2',
      retain: { ageMs: 3_600_000, sizeBytes: 2 ** 30 },
      heartbeatMs: 250,
      upstream: 'store',
    },
    writes: {
      forward: false,
      waitMs: 5000,
      keepMs: 10,
      commitMs: 30_000,
      turnMs: 2000,
      holdMs: 30_000,
      silenceMs: 5000,
      holdByHandMs: 600_000,
    },
    durability: { until: 'local', replicas: 0, timeoutMs: 5000, onTimeout: 'degrade', databases: [] },
    proxy: {
      listen: { host: '0.0.0.0', port: 8080 },
      target: 'http://127.0.0.1:3000',
      advertise: 'http://10.0.0.2:8080',
      primary: 'https://p.example',
      databases: ['app.db'],
      passthrough: ['*.css'],
      alwaysForward: ['/api/admin/*'],
      flyReplay: 'region=fra',
      trustForwarded: true,
      waitMs: 1000,
      afterWait: '504',
      primaryWaitMs: 2000,
      settleMs: 3000,
      connectMs: 4000,
      responseMs: 30_000,
      idleMs: 120_000,
      drainMs: 20_000,
      maxConnections: 100,
      cookie: { name: 'seen', maxAgeMs: 60_000, secure: true },
      header: 'x-seen',
    },
    restore: 'if-missing',
    backup: [
      {
        url: 'file:///srv/backup',
        intervalMs: 5000,
        levelsMs: [60_000, 3_600_000],
        snapshotMs: 43_200_000,
        retain: { ageMs: 2_592_000_000, snapshots: 5, fineMs: 600_000 },
        verifyMs: 21_600_000,
        keyFile: join(folder, 'backup.key'),
      },
      {
        ...DEFAULT_STORE,
        url: 's3://bucket/path',
        endpoint: 'http://127.0.0.1:7070',
        region: 'eu-central-1',
        pathStyle: true,
        accessKeyId: 'id',
        secretAccessKey: 'secret',
        profile: 'prod',
        sse: 'aws:kms',
        sseKeyId: 'some-key',
        caFile: join(folder, 'ca.pem'),
      },
    ],
    log: { level: 'debug', format: 'json' },
    exec: ['npm', 'start'],
  });
});

test('short forms: a mount by its path, one backup without a list, a command as text', () => {
  const config = load('mount: ./m\nbackup: { url: ./b }\nexec: npm start && echo done\n');
  assert.is(config.mount.path, join(folder, 'm'));
  assert.equal(config.backup, [{ ...DEFAULT_STORE, url: `file://${join(folder, 'b')}` }]);
  assert.equal(config.exec, ['/bin/sh', '-c', 'npm start && echo done']);
});

test('relative paths are relative to the folder of the file', () => {
  mkdirSync(join(folder, 'sub'), { recursive: true });
  writeFileSync(join(folder, 'sub/other.yml'), 'data: ../d\nbackup: [{ url: "file://./x" }, { url: ../y }]\n');
  const config = loadConfig({ file: 'sub/other.yml', cwd: folder, env: {} });
  assert.is(config.data, join(folder, 'd'));
  assert.is(config.mount.path, join(folder, 'd/mnt'));
  assert.equal(
    config.backup.map((store) => store.url),
    [`file://${join(folder, 'sub/x')}`, `file://${join(folder, 'y')}`],
  );
});

test('variables are expanded in values, also inside a text, and cannot bring in keys', () => {
  const config = load(
    `data: \${ROOT}/d
http: { token: "\${TOKEN}", listen: "127.0.0.1:\${PORT:-8080}" }
lease: { advertise: "\${NAME}" }
backup: { url: "s3://\${BUCKET:-bucket}/\${EMPTY:-p}", pathStyle: "\${STYLE}" }
exec: [echo, "\${MULTI}", "$$\${DOLLAR:-x}", $HOME]
`,
    { ROOT: '/r', TOKEN: 'a:#c', NAME: 'a: b #c', EMPTY: '', STYLE: 'true', MULTI: 'x\nlog: loud' },
  );
  assert.is(config.data, '/r/d');
  assert.is(config.http.token, 'a:#c');
  assert.is(config.lease.advertise, 'a: b #c');
  assert.equal(config.http.listen, { host: '127.0.0.1', port: 8080 });
  assert.is(config.backup[0]!.url, 's3://bucket/p');
  assert.is(config.backup[0]!.pathStyle, true);
  assert.equal(config.exec, ['echo', 'x\nlog: loud', '$x', '$HOME']);
});

const WANT_LISTEN = 'want an address and port like 127.0.0.1:20202 or [::1]:20202, or off';

const WANT_STORE = 'a store like file:///var/backups/app, ./backups or s3://bucket/path';
const WANT_TOKEN =
  'got a value that is not shown; want a secret text of up to 1024 visible ASCII characters, without spaces';

const REFUSED: readonly (readonly [string, ...string[]])[] = [
  ['datta: x', 'sluice.yml:1:1: datta: unknown key; did you mean data?'],
  ['mount:\n  lock: kernel', 'sluice.yml:2:3: mount.lock: unknown key; did you mean locks?'],
  ['http: { health_lag: 1s }', 'sluice.yml:1:9: http.health_lag: unknown key; did you mean healthLag?'],
  [
    'replication:\n  retain:\n    days: 3',
    'sluice.yml:3:5: replication.retain.days: unknown key; known here: age, size',
  ],
  [
    'backup:\n- url: /b\n  key: x',
    'sluice.yml:3:3: backup[0].key: unknown key; known here: url, interval, levels, snapshot, retain, verify, encryption, endpoint, region, pathStyle, accessKeyId, secretAccessKey, profile, sse, sseKeyId, caFile',
  ],
  ['mount: { locks: kernal }', 'sluice.yml:1:17: mount.locks: got "kernal"; want one of auto, kernel, sluice'],
  ['mount: { wakeups: true }', 'sluice.yml:1:19: mount.wakeups: got true; want one of auto, always, off'],
  ['mount: { driver: fuse }', 'sluice.yml:1:18: mount.driver: got "fuse"; want one of auto, raw, libfuse'],
  [
    'mount: { driver: libfuse, locks: sluice }',
    'sluice.yml:1:34: mount.locks: driver libfuse leaves locks to the kernel; want kernel or auto, or driver: raw',
  ],
  [
    'log: { level: 3 }',
    'sluice.yml:1:15: log.level: got 3; want one of trace, debug, info, warn, error, fatal, silent',
  ],
  ['lease: { type: raft }', 'sluice.yml:1:16: lease.type: got "raft"; want one of static'],
  ['http:\n  listen: 8080', `sluice.yml:2:11: http.listen: got 8080; ${WANT_LISTEN}`],
  ['http: { listen: ":8080" }', `sluice.yml:1:17: http.listen: got ":8080"; ${WANT_LISTEN}`],
  ['http: { listen: "::1:8080" }', `sluice.yml:1:17: http.listen: got "::1:8080"; ${WANT_LISTEN}`],
  ['http: { listen: "127.0.0.1:70000" }', `sluice.yml:1:17: http.listen: got "127.0.0.1:70000"; ${WANT_LISTEN}`],
  [
    'http: { healthLag: 10 }',
    'sluice.yml:1:20: http.healthLag: got 10; want a duration like 10s (ms, s, m, h, d), from 1 ms to 3650 d',
  ],
  [
    'replication: { heartbeat: 0s }',
    'sluice.yml:1:27: replication.heartbeat: got "0s"; want a duration like 1s (ms, s, m, h, d), from 10 ms to 1 min',
  ],
  [
    'replication: { retain: { size: 5 } }',
    'sluice.yml:1:32: replication.retain.size: got 5; want a size like 256MiB (B, KiB, MiB, GiB), at least 1 MiB',
  ],
  ['http: { token: 5 }', `sluice.yml:1:16: http.token: ${WANT_TOKEN}`],
  ['http: { token: "two words" }', `sluice.yml:1:16: http.token: ${WANT_TOKEN} (this has a space)`],
  [
    'replication:\n  token: |\n    secret\n',
    `sluice.yml:2:10: replication.token: ${WANT_TOKEN} (this ends with a line break)`,
  ],
  ['replication: { token: "a\\r\\nb" }', `sluice.yml:1:23: replication.token: ${WANT_TOKEN} (this has a line break)`],
  [
    'replication: { token: "a\\tb" }',
    `sluice.yml:1:23: replication.token: ${WANT_TOKEN} (this has a control character)`,
  ],
  [
    'replication: { token: "a\\x7f" }',
    `sluice.yml:1:23: replication.token: ${WANT_TOKEN} (this has a control character)`,
  ],
  ['http: { token: "schlüssel" }', `sluice.yml:1:16: http.token: ${WANT_TOKEN} (this has a character outside ASCII)`],
  ['data: ""', 'sluice.yml:1:7: data: got ""; want a folder'],
  ['data: [a]', 'sluice.yml:1:7: data: got a list; want a folder'],
  ['log: loud', 'sluice.yml:1:6: log: got "loud"; want a section of keys'],
  ['- a', 'sluice.yml:1:1: got a list; want keys like data, mount, lease'],
  ['exec: []', 'sluice.yml:1:7: exec: got an empty list; want a command: one text for the shell, or a list of words'],
  [
    'backup: { interval: 1s }',
    'sluice.yml:1:9: backup[0].url: missing; want a store like file:///var/backups/app, ./backups or s3://bucket/path',
  ],
  [
    'backup: { url: "ftp://x" }',
    'sluice.yml:1:16: backup[0].url: got "ftp://x"; want a store like file:///var/backups/app, ./backups or s3://bucket/path (this is not a store address)',
  ],
  [
    'backup: { url: "file://host/x" }',
    'sluice.yml:1:16: backup[0].url: got "file://host/x"; want a store like file:///var/backups/app, ./backups or s3://bucket/path (this names a host; a path starts with /, ./ or ../)',
  ],
  [
    'backup:\n- url: file:/var/backups',
    `sluice.yml:2:8: backup[0].url: got "file:/var/backups"; want ${WANT_STORE} (this lacks the two slashes after file:)`,
  ],
  [
    'backup: { url: "s3://bucket?foo=1" }',
    `sluice.yml:1:16: backup[0].url: got "s3://bucket?foo=1"; want ${WANT_STORE} (this has an unknown setting "foo")`,
  ],
  [
    'backup: { url: "s3://user:pw@bucket/x" }',
    `sluice.yml:1:16: backup[0].url: got "s3://…@bucket/x"; want ${WANT_STORE} (this holds credentials, which belong in AWS_* variables)`,
  ],
  [
    'backup: { url: "s3://my bucket" }',
    `sluice.yml:1:16: backup[0].url: got "s3://my bucket"; want ${WANT_STORE} (this has no valid bucket name)`,
  ],
  [
    'backup: { url: "s3://a" }',
    `sluice.yml:1:16: backup[0].url: got "s3://a"; want ${WANT_STORE} (this has no valid bucket name)`,
  ],
  [
    'backup: { url: "file:///a?b" }',
    `sluice.yml:1:16: backup[0].url: got "file:///a?b"; want ${WANT_STORE} (this has a query, which a file address cannot have)`,
  ],
  [
    'backup: { url: backups }',
    `sluice.yml:1:16: backup[0].url: got "backups"; want ${WANT_STORE} (this is not a store address)`,
  ],
  [
    'backup: [{ url: /b }, { url: /c }, { url: "file:///b" }]',
    'sluice.yml:1:43: backup[2].url: the same store twice; remove one of them',
  ],
  [
    'backup: { url: "s3://bucket/p", accessKeyId: k }',
    'sluice.yml:1:16: backup.url: accessKeyId and secretAccessKey go together; set both, or neither',
  ],
  [
    'lease: { role: replica }',
    'sluice.yml:1:8: lease.primary: missing; a replica wants its primary as a URL like ws://10.0.0.1:20203',
  ],
  [
    'lease: { primary: "ws://p:1" }',
    'sluice.yml:1:19: lease.primary: only for a replica; remove it, or set lease.role: replica',
  ],
  [
    'lease: { role: replica, primary: "ws://p:1/#x" }',
    'sluice.yml:1:34: lease.primary: got "ws://p:1/#x"; want the primary as a URL like ws://10.0.0.1:20203',
  ],
  [
    'lease: { role: replica, primary: "p:20203" }',
    'sluice.yml:1:34: lease.primary: got "p:20203"; want the primary as a URL like ws://10.0.0.1:20203',
  ],
  [
    'http: { listen: "0.0.0.0:80" }',
    'sluice.yml:1:17: http.listen: 0.0.0.0 can be reached by other machines; set http.token, or listen on 127.0.0.1',
  ],
  [
    'replication: { listen: "[::]:80" }',
    'sluice.yml:1:24: replication.listen: :: can be reached by other machines; set replication.token, or listen on 127.0.0.1',
  ],
  [
    'http: { listen: "db.example:80" }',
    'sluice.yml:1:17: http.listen: db.example can be reached by other machines; set http.token, or listen on 127.0.0.1',
  ],
  [
    'replication: { listen: "127.0.0.1:20202" }',
    'sluice.yml:1:24: replication.listen: the same address as http.listen; want another port',
  ],
  [
    'data: /d\nmount: /d',
    'sluice.yml:2:8: mount.path: the data folder itself; want another folder, for example data/mnt',
  ],
  ['data: /d/x\nmount: { path: /d }', 'sluice.yml:1:7: data: inside the mount /d; want a folder outside it'],
  [`data: \${NOPE}`, `sluice.yml:1:7: the environment has no NOPE; set it, or write \${NOPE:-default}`],
  [`data: \${A B}`, `sluice.yml:1:7: \${A B} is no variable; write \${NAME}, \${NAME:-default}, or $$ for a $`],
  ['data: a\ndata: b', 'sluice.yml:2:1: not valid YAML: Map keys must be unique'],
];

for (const [yaml, ...expected] of REFUSED) {
  test(`refuses ${JSON.stringify(yaml)}`, () => assert.equal(problems(yaml), expected));
}

test('shows all problems, in the order of the file', () => {
  const yaml = 'log: { levl: x }\ndata: 5\nlease: { role: boss }\n';
  assert.equal(problems(yaml), [
    'sluice.yml:1:8: log.levl: unknown key; did you mean level?',
    'sluice.yml:2:7: data: got 5; want a folder',
    'sluice.yml:3:16: lease.role: got "boss"; want one of primary, replica',
  ]);
  try {
    load(yaml);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ConfigError);
    assert.is((error as ConfigError).message, 'sluice.yml:1:8: log.levl: unknown key; did you mean level?');
    assert.is((error as ConfigError).hint, 'See sluice config check for 2 more');
  }
});

test('a token from the environment is checked as it arrives', () => {
  const yaml = `http:\n  token: "\${TOKEN}"\n`;
  assert.equal(problems(yaml, { TOKEN: 'secret\n' }), [
    `sluice.yml:2:10: http.token: ${WANT_TOKEN} (this ends with a line break)`,
  ]);
  assert.equal(problems(yaml, { TOKEN: 'x'.repeat(1025) }), [
    `sluice.yml:2:10: http.token: ${WANT_TOKEN} (this has 1025)`,
  ]);
  assert.is(load(yaml, { TOKEN: 'A-z0.9_~+/=!"#$%&' }).http.token, 'A-z0.9_~+/=!"#$%&');
});

test('a store address is read as restore reads it', () => {
  const config = load('backup: [{ url: "file://./a%20b" }, { url: "file:///c%20d/" }, { url: "./e f%20" }]');
  const paths = config.backup.map(({ url }) => {
    const place = parseStoreUrl(url);
    return place.scheme === 'file' ? place.path : place.bucket;
  });
  assert.equal(paths, [join(folder, 'a b'), '/c d', join(folder, 'e f%20')]);
});

test('a mount in a folder that the node keeps for itself is refused', () => {
  const { files, meta, run, spool, setAside } = new DataFolder(join(folder, 'data-folder'));
  for (const own of [files, meta, run, spool, setAside].map((path) => basename(path))) {
    for (const mount of [`/d/${own}`, `/d/${own}/sub`, `/d/x/../${own}`]) {
      assert.equal(problems(`data: /d\nmount: ${mount}`), [
        `sluice.yml:2:8: mount.path: inside /d/${own}, which the node keeps for itself; want another folder, for example data/mnt`,
      ]);
    }
  }
  assert.is(load('data: /d\nmount: /d/filesystem').mount.path, '/d/filesystem');
  assert.is(load('data: /d\nmount: /d/mnt/files').mount.path, '/d/mnt/files');
});

test('a backup that goes through the mount or into the data is refused', () => {
  const inMount = 'inside the mount /d/mnt, which would wait for its own backup; want a folder outside it';
  assert.equal(problems('data: /d\nbackup: { url: /d/mnt/backup }'), [`sluice.yml:2:16: backup.url: ${inMount}`]);
  assert.equal(problems('data: /d\nbackup: [{ url: /b }, { url: "file:///d/mnt" }]'), [
    `sluice.yml:2:30: backup[1].url: ${inMount}`,
  ]);
  assert.equal(problems('data: /d\nbackup: { url: /d/files/backup }'), [
    'sluice.yml:2:16: backup.url: inside /d/files, which the node keeps for itself; want another folder, for example data/backup',
  ]);
  assert.equal(problems('data: /d\nmount: /b/app.db\nbackup: { url: /b }'), [
    'sluice.yml:2:8: mount.path: inside the backup folder /b; want a folder outside it',
  ]);
  assert.is(load('data: /d\nbackup: { url: /d/backup }').backup[0]!.url, 'file:///d/backup');
});

test('symbolic links do not hide that folders lie in each other', () => {
  mkdirSync(join(folder, 'real/files'), { recursive: true });
  symlinkSync(join(folder, 'real'), join(folder, 'link'));
  symlinkSync(join(folder, 'real/files'), join(folder, 'to-files'));
  assert.match(problems('data: link\nmount: real/files/x')[0]!, /mount\.path: inside .*\/files, which the node keeps/);
  assert.match(problems('data: real\nmount: link/files')[0]!, /mount\.path: inside .*\/files, which the node keeps/);
  assert.match(problems('data: real\nmount: to-files')[0]!, /mount\.path: inside .*\/files, which the node keeps/);
  assert.match(problems('data: link/x/y\nmount: real')[0]!, /data: inside the mount/);
  assert.match(problems('data: d\nmount: real\nbackup: { url: ./link/b }')[0]!, /backup\.url: inside the mount/);
});

test('other machines may reach a node that has a token', () => {
  const config = load('http: { listen: "0.0.0.0:1", token: a }\nreplication: { listen: "[::]:2", token: b }');
  assert.equal(config.replication.listen, { host: '::', port: 2 });
});

test('a file that is asked for and missing is an error', () => {
  assert.throws(() => loadConfig({ file: 'no.yml', cwd: folder, env: {} }), /^no config file .*no\.yml$/);
});

test('secrets are masked in what is printed', () => {
  const config = load('http: { token: s1 }\nbackup: { url: s3://bucket, accessKeyId: s2, secretAccessKey: s3 }');
  const text = JSON.stringify(maskConfig(config));
  assert.not.match(text, /"s[123]"/);
  assert.match(text, /"token":"\*\*\*"/);
  assert.match(text, /"replication":\{.*"token":null/);
});

test.after(() => rmSync(folder, { recursive: true }));
test('what would end the process is refused like any other mistake', () => {
  for (const bracket of ['[', '{a: ', '- ', '? ', '? - ', 'a: ', '!!set {', '&a [*a, ']) {
    const [problem] = problems(bracket.repeat(5000));
    assert.match(problem!, /^sluice\.yml:1:\d+: not valid YAML here: nested too deeply$/, bracket);
  }
  assert.match(problems(`http:\n  token: ${'['.repeat(100)}`)[0]!, /^sluice\.yml:2:\d+: not valid YAML here/);
  const aliases = ['a: &a [x, x, x, x, x, x, x, x, x, x]'];
  for (const [from, to] of ['ab', 'bc', 'cd', 'de']) aliases.push(`${to}: &${to} [${`*${from}, `.repeat(10)}]`);
  assert.match(problems(aliases.join('\n'))[0]!, /^sluice\.yml:1:1: not valid YAML: Excessive alias count/);
});

test('a variable is one of the environment, not one of JavaScript', () => {
  assert.match(problems(`data: \${constructor}`)[0]!, /the environment has no constructor/);
  assert.is(load(`data: /x\${toString:-y}`).data, '/xy');
});

test('a proxy wants a target; the rest has defaults', () => {
  const { proxy } = load('proxy: { target: "http://127.0.0.1:3000" }');
  assert.equal(proxy, {
    listen: { host: '127.0.0.1', port: 20204 },
    target: 'http://127.0.0.1:3000',
    advertise: 'http://127.0.0.1:20204',
    primary: null,
    databases: null,
    passthrough: [],
    alwaysForward: [],
    flyReplay: null,
    trustForwarded: false,
    waitMs: 5000,
    afterWait: 'primary',
    primaryWaitMs: 5000,
    settleMs: 2000,
    connectMs: 5000,
    responseMs: 60_000,
    idleMs: 60_000,
    drainMs: 10_000,
    maxConnections: 4096,
    cookie: { name: '__sluice', maxAgeMs: 300_000, secure: false },
    header: 'sluice-position',
  });
  assert.is(load('proxy: { target: "[::1]:80", listen: "off" }').proxy, null);
  assert.is(load('proxy: { target: "[::1]:80", listen: "0.0.0.0:80" }').proxy!.advertise, null);
  assert.is(load('proxy: { target: "[::1]:80", flyReplay: true }').proxy!.flyReplay, 'instance');
});

for (const [what, text, message] of [
  ['no target', 'proxy:', /proxy\.target: missing; want the application/],
  ['a target with a path', 'proxy: { target: "http://a:1/b" }', /proxy\.target: got/],
  ['itself as target', 'proxy: { target: 127.0.0.1:20204 }', /the proxy itself/],
  ['a taken address', 'proxy: { target: a:1, listen: 127.0.0.1:20202 }', /an address that http or replication has/],
  ['a primary on a primary', 'proxy: { target: a:1, primary: "http://b:1" }', /only for a replica/],
  ['a pattern without a slash', 'proxy: { target: a:1, passthrough: [api] }', /a list of up to 100 paths/],
  ['a header line as fly-replay', 'proxy: { target: a:1, flyReplay: "x=1\\r\\ny: 2" }', /true, false, or what Fly\.io/],
  ['another word after a wait', 'proxy: { target: a:1, afterWait: 503 }', /one of primary, 504/],
] as const) {
  test(`a proxy with ${what} is refused`, () => {
    assert.throws(
      () => load(text),
      (error: Error) => message.test(error.message),
    );
  });
}

const RULE = { until: 'replicas', replicas: 2, timeoutMs: 3000, onTimeout: 'refuse' } as const;

test('durability: a word or a section, and what databases say otherwise', () => {
  const LOCAL = { until: 'local', replicas: 0, timeoutMs: 5000, onTimeout: 'degrade' };
  assert.equal(load('').durability, { ...LOCAL, databases: [] });
  assert.equal(load('durability: local').durability, { ...LOCAL, databases: [] });
  const store = 'backup: { url: file:///b }\n';
  assert.equal(load(`${store}durability: backup`).durability, { ...LOCAL, until: 'backup', databases: [] });
  const { durability } = load(`${store}
durability:
  replicas: 2
  timeout: 3s
  onTimeout: refuse
  databases: { a.db: local, "b/*": backup, c.db: { replicas: 1, onTimeout: degrade } }`);
  assert.equal(durability, {
    ...RULE,
    databases: [
      { pattern: 'a.db', ...RULE, until: 'local', replicas: 0 },
      { pattern: 'b/*', ...RULE, until: 'backup', replicas: 0 },
      { pattern: 'c.db', ...RULE, replicas: 1, onTimeout: 'degrade' },
    ],
  });
});

test('durability: what does not go is said', () => {
  assert.equal(problems('durability: remote'), [
    'sluice.yml:1:13: durability: got "remote"; want local, backup, or a section like {replicas: 1}',
  ]);
  assert.equal(problems('durability: { replicas: 0 }'), [
    'sluice.yml:1:25: durability.replicas: got 0; want a number of replicas from 1 to 100',
  ]);
  assert.equal(problems('durability: { onTimeout: refuse }'), [
    'sluice.yml:1:13: durability: got a section; want replicas or backup, which commits are to wait for, beside the time-out',
  ]);
  assert.equal(problems('durability: { databases: { a.db: { timeout: 3s } } }'), [
    'sluice.yml:1:34: durability.databases.a.db: got a section; want replicas or backup, which a commit is to wait for, beside the time-out',
  ]);
  assert.equal(problems('durability: { onTimeout: refuse, databases: { a.db: { replicas: 1 } } }'), []);
  assert.equal(problems('durability: { databases: { a.db: { replica: 1 } } }'), [
    'sluice.yml:1:36: durability.databases.a.db.replica: unknown key; did you mean replicas?',
  ]);
  assert.equal(problems('durability: backup'), [
    'sluice.yml:1:13: durability: backup wants a store that commits wait for; add one under backup',
  ]);
  assert.equal(problems('replication: { listen: "off" }\ndurability: { replicas: 1 }'), [
    'sluice.yml:2:13: durability: replicas cannot connect: replication.listen is off',
  ]);
  const replica = 'lease: { role: replica, primary: "ws://p:1" }\n';
  assert.equal(problems(`${replica}durability: { replicas: 1 }`), [
    'sluice.yml:2:13: durability: only for a node that may be primary; remove it',
  ]);
  assert.equal(problems('durability: { replicas: 1, backup: true }'), [
    'sluice.yml:1:13: durability: got a section; want replicas or backup, not both',
  ]);
});

test.run();
