import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { parseStoreUrl } from '../backup/urls.js';
import { formatListen, parseListen } from './listen.js';
import type { ListenAddress } from './types.js';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js';

/**
 * The shape of sluice.yml. Each field's error text completes the sentence "got X; want …".
 * The result still has the file's relative paths: load.ts resolves them.
 * Addresses are read by backup's own parser, past its door: that would bring LTX and compression into each `status`.
 */

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const MIN_INTERVAL_MS = 10;
const MAX_INTERVAL_MS = 3_600_000;
const MAX_DURATION_MS = 3650 * 86_400_000;
const MIN_RETAIN_BYTES = 2 ** 20;
const MAX_TOKEN_CHARS = 1024;
const MAX_PATTERNS = 100;
const MAX_PATTERN_CHARS = 500;
const MAX_CONNECTIONS = 100_000;

function text(want: string) {
  return z.string({ error: want }).min(1, { error: want });
}

function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, { error: `one of ${values.join(', ')}` });
}

function converted<T>(want: string, convert: (value: string) => T | undefined) {
  return z.string({ error: want }).transform((value, context): T => {
    const result = convert(value);
    if (result !== undefined) return result;
    context.addIssue({ code: 'custom', message: want });
    return z.NEVER;
  });
}

/** A text in which `flaw` finds nothing; what it finds is told after what is wanted. */
function flawless(want: string, flaw: (value: string) => string | undefined) {
  return text(want).superRefine((value, context) => {
    const found = value === '' ? undefined : flaw(value);
    if (found !== undefined) context.addIssue({ code: 'custom', message: `${want} (this ${found})` });
  });
}

function duration(example: string, minMs: number, maxMs: number) {
  const want = `a duration like ${example} (ms, s, m, h, d), from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return converted(want, (value) => {
    const ms = parseDuration(value);
    return ms === undefined || ms < minMs || ms > maxMs ? undefined : ms;
  });
}

function size(example: string, minBytes: number) {
  const want = `a size like ${example} (B, KiB, MiB, GiB), at least ${formatSize(minBytes)}`;
  return converted(want, (value) => {
    const bytes = parseSize(value);
    return bytes === undefined || bytes < minBytes ? undefined : bytes;
  });
}

function listen(example: string) {
  return converted(
    `an address and port like ${example} or [::1]:20202, or off`,
    (value): { address: ListenAddress | null } | undefined => {
      if (value === 'off') return { address: null };
      const address = parseListen(value);
      return address === undefined ? undefined : { address };
    },
  );
}

function url(want: string, accepts: (url: URL) => boolean) {
  return converted(want, (value) => (URL.canParse(value) && accepts(new URL(value)) ? value : undefined));
}

/** `${VAR}` makes text of everything, so a boolean may also be the word. */
const flag = z.preprocess(
  (value) => (value === 'true' ? true : value === 'false' ? false : value),
  z.boolean({ error: 'true or false' }),
);

/** It is sent in an HTTP header, where other characters would be refused or changed. */
const token = flawless(
  `a secret text of up to ${MAX_TOKEN_CHARS} visible ASCII characters, without spaces`,
  (value) => {
    if (/^[^\r\n]*[\r\n]+$/.test(value)) return 'ends with a line break';
    if (/[\r\n]/.test(value)) return 'has a line break';
    if (value.includes(' ')) return 'has a space';
    if (/\p{Cc}/u.test(value)) return 'has a control character';
    if (!/^[!-~]*$/.test(value)) return 'has a character outside ASCII';
    return value.length > MAX_TOKEN_CHARS ? `has ${value.length}` : undefined;
  },
);

/** A key without a value (`http:`) is a section with all its defaults. */
function section<T extends z.ZodRawShape>(shape: T, spell: (value: unknown) => unknown = (value) => value) {
  return z.preprocess((value) => spell(value) ?? {}, z.strictObject(shape, { error: 'a section of keys' }));
}

const mountShape = {
  path: text('a folder').optional(),
  driver: oneOf(['auto', 'raw', 'libfuse']).default('auto'),
  locks: oneOf(['auto', 'kernel', 'sluice']).default('auto'),
  wakeups: oneOf(['auto', 'always', 'off']).default('auto'),
  passthrough: oneOf(['on', 'off']).default('on'),
};

const httpShape = {
  listen: listen('127.0.0.1:20202').default({ address: { host: '127.0.0.1', port: 20202 } }),
  token: token.optional(),
  healthLag: duration('10s', 1, MAX_DURATION_MS).default(10_000),
};

const leaseShape = {
  type: oneOf(['static']).default('static'),
  role: oneOf(['primary', 'replica']).default('primary'),
  primary: url('the primary as a URL like ws://10.0.0.1:20203', isStreamUrl).optional(),
  advertise: text('an address that others reach this node at, like ws://10.0.0.1:20203').optional(),
};

const retainShape = {
  age: duration('24h', 1000, MAX_DURATION_MS).default(86_400_000),
  size: size('256MiB', MIN_RETAIN_BYTES).default(256 * 2 ** 20),
};

const replicationShape = {
  listen: listen('127.0.0.1:20203').default({ address: { host: '127.0.0.1', port: 20203 } }),
  token: token.optional(),
  retain: section(retainShape),
  heartbeat: duration('1s', MIN_INTERVAL_MS, 60_000).default(1000),
  upstream: oneOf(['primary', 'store']).default('primary'),
};

const writesShape = {
  forward: flag.optional(),
  wait: duration('5s', 1, 600_000).default(5000),
  keep: duration('10ms', 1, 60_000).default(10),
  commit: duration('30s', 100, 600_000).default(30_000),
  turn: duration('2s', 1, 600_000).default(2000),
  hold: duration('30s', 100, 3_600_000).default(30_000),
  holdByHand: duration('10m', 100, 86_400_000).default(600_000),
  silence: duration('5s', 100, 600_000).default(5000),
};

const patternsWant = `a list of up to ${MAX_PATTERNS} paths like /api/admin/* or *.css`;

function patterns() {
  const pattern = text(patternsWant)
    .regex(/^[/*]/, { error: patternsWant })
    .max(MAX_PATTERN_CHARS, { error: patternsWant });
  return z.array(pattern, { error: patternsWant }).max(MAX_PATTERNS, { error: patternsWant }).default([]);
}

const databasesWant = 'a list of databases like [app.db]';
const connectionsWant = `a number of connections from 1 to ${MAX_CONNECTIONS}`;
const flyWant = 'true, false, or what Fly.io is to be told, like region=fra';

const cookieShape = {
  name: text('a cookie name')
    .regex(/^[A-Za-z0-9_-]{1,64}$/, { error: 'a cookie name of up to 64 letters, digits, _ and -' })
    .default('__sluice'),
  maxAge: duration('300s', 1000, 86_400_000).default(300_000),
  secure: flag.default(false),
};

const proxyShape = {
  listen: listen('127.0.0.1:20204').default({ address: { host: '127.0.0.1', port: 20204 } }),
  target: converted('the application as an address like http://127.0.0.1:3000', readTarget),
  advertise: proxyUrl('this proxy as other nodes reach it, like http://10.0.0.1:20204').optional(),
  primary: proxyUrl("the primary's proxy as a URL like http://10.0.0.1:20204").optional(),
  databases: z.array(text(databasesWant), { error: databasesWant }).min(1, { error: databasesWant }).optional(),
  passthrough: patterns(),
  alwaysForward: patterns(),
  flyReplay: z
    .preprocess(
      (value) => (value === 'true' ? true : value === 'false' ? false : value),
      z.union([z.boolean(), z.string().regex(/^[a-z_]+=[!-:<-~]+(;[a-z_]+=[!-:<-~]+)*$/, { error: flyWant })], {
        error: flyWant,
      }),
    )
    .default(false),
  trustForwarded: flag.default(false),
  waitLimit: duration('5s', 1, 600_000).default(5000),
  afterWait: z.preprocess((value) => (value === 504 ? '504' : value), oneOf(['primary', '504'])).default('primary'),
  primaryWait: duration('5s', 1, 600_000).default(5000),
  settleLimit: duration('2s', 1, 600_000).default(2000),
  connectTimeout: duration('5s', 1, 600_000).default(5000),
  responseTimeout: duration('60s', 1, 86_400_000).default(60_000),
  idleTimeout: duration('60s', 100, 86_400_000).default(60_000),
  drainLimit: duration('10s', 1, 600_000).default(10_000),
  maxConnections: z.coerce
    .number({ error: connectionsWant })
    .int({ error: connectionsWant })
    .min(1, { error: connectionsWant })
    .max(MAX_CONNECTIONS, { error: connectionsWant })
    .default(4096),
  cookie: section(cookieShape),
  header: text('a header name')
    .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, { error: 'a header name of up to 64 letters, digits and -' })
    .default('sluice-position'),
};

const replicasWant = 'a number of replicas from 1 to 100';
const durabilityWant = 'local, backup, or a section like {replicas: 1}';

const durabilityRuleShape = {
  replicas: z.coerce
    .number({ error: replicasWant })
    .int({ error: replicasWant })
    .min(1, { error: replicasWant })
    .max(100, { error: replicasWant })
    .optional(),
  backup: flag.optional(),
  timeout: duration('5s', 10, 600_000).optional(),
  onTimeout: oneOf(['degrade', 'refuse']).optional(),
};

/** A word stands for a section. */
function durabilityWord(value: unknown): unknown {
  if (value === 'local') return {};
  return value === 'backup' ? { backup: true } : value;
}

/** Nothing to wait for, and what is to happen if it does not come: that was to be a protection. */
function isVoid({
  replicas,
  backup,
  timeout,
  onTimeout,
}: { [key in keyof typeof durabilityRuleShape]?: unknown }): boolean {
  return replicas === undefined && backup !== true && (timeout !== undefined || onTimeout !== undefined);
}

const durabilityRule = z.preprocess(
  durabilityWord,
  z
    .strictObject(durabilityRuleShape, { error: durabilityWant })
    .refine(({ replicas, backup }) => replicas === undefined || backup !== true, {
      error: 'replicas or backup, not both',
    })
    .refine((rule) => !isVoid(rule), {
      error: 'replicas or backup, which a commit is to wait for, beside the time-out',
    }),
);

const durabilityShape = {
  ...durabilityRuleShape,
  databases: z.record(z.string(), durabilityRule, { error: 'a section of names or patterns' }).default({}),
};

const durability = z.preprocess(
  (value) => durabilityWord(value) ?? {},
  z
    .strictObject(durabilityShape, { error: durabilityWant })
    .refine(({ replicas, backup }) => replicas === undefined || backup !== true, {
      error: 'replicas or backup, not both',
    })
    // What it says of the time-out is for those databases then.
    .refine((rule) => !isVoid(rule) || Object.keys(rule.databases).length > 0, {
      error: 'replicas or backup, which commits are to wait for, beside the time-out',
    }),
);

/** At most 8: 9 is the snapshots' own. */
const MAX_LEVELS = 8;

const storeRetainShape = {
  age: duration('7d', 1000, MAX_DURATION_MS).default(7 * 86_400_000),
  snapshots: z.coerce
    .number({ error: 'a number of snapshots from 1 to 1000' })
    .int({ error: 'a number of snapshots from 1 to 1000' })
    .min(1, { error: 'a number of snapshots from 1 to 1000' })
    .max(1000, { error: 'a number of snapshots from 1 to 1000' })
    .default(2),
  fine: duration('1h', 1000, MAX_DURATION_MS).default(3_600_000),
};

const encryptionShape = {
  key: text('the path of a key file, which sluice backup key makes'),
};

const levelsWant = 'a list of up to 8 growing durations like [30s, 5m, 1h]';

const backupShape = {
  url: flawless('a store like file:///var/backups/app, ./backups or s3://bucket/path', storeFlaw),
  interval: duration('1s', MIN_INTERVAL_MS, MAX_INTERVAL_MS).default(1000),
  levels: z
    .array(duration('30s', MIN_INTERVAL_MS, MAX_DURATION_MS), { error: levelsWant })
    .max(MAX_LEVELS, { error: levelsWant })
    .refine((levels) => levels.every((ms, i) => i === 0 || ms > levels[i - 1]!), { error: levelsWant })
    .default([30_000, 300_000, 3_600_000]),
  snapshot: duration('24h', 1000, MAX_DURATION_MS).default(86_400_000),
  retain: section(storeRetainShape),
  verify: duration('24h', 1000, MAX_DURATION_MS).optional(),
  encryption: z.strictObject(encryptionShape, { error: 'a section with a key' }).optional(),
  endpoint: url('the URL of an S3 service like https://s3.example.com', (u) => /^https?:$/.test(u.protocol)).optional(),
  region: text('a region like eu-central-1').optional(),
  pathStyle: flag.optional(),
  accessKeyId: text('an access key id').optional(),
  secretAccessKey: text('a secret access key').optional(),
  profile: text('the name of an AWS profile').optional(),
  sse: oneOf(['AES256', 'aws:kms']).optional(),
  sseKeyId: text('the id of a KMS key').optional(),
  caFile: text('the path of a PEM file with certificates to trust').optional(),
};

const logShape = {
  level: oneOf(LEVELS).default('info'),
  format: oneOf(['auto', 'json', 'pretty']).default('auto'),
};

const execWant = 'a command: one text for the shell, or a list of words';

const rootShape = {
  data: text('a folder').default('./data'),
  mount: section(mountShape, (value) => (typeof value === 'string' ? { path: value } : value)),
  http: section(httpShape),
  lease: section(leaseShape),
  replication: section(replicationShape),
  writes: section(writesShape),
  proxy: z.preprocess(
    (value) => (value === null ? {} : value),
    z.strictObject(proxyShape, { error: 'a section of keys with a target' }).optional(),
  ),
  durability,
  backup: z.preprocess(
    (value) => (value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]),
    z
      .array(z.strictObject(backupShape, { error: 'a section of keys with a url' }))
      .max(8, { error: 'at most 8 stores' }),
  ),
  restore: oneOf(['never', 'if-missing']).default('never'),
  log: section(logShape),
  exec: z.preprocess(
    (value) => (typeof value === 'string' && value !== '' ? ['/bin/sh', '-c', value] : value),
    z.array(text(execWant), { error: execWant }).min(1, { error: execWant }).optional(),
  ),
};

export const configSchema = z.strictObject(rootShape, { error: 'keys like data, mount, lease' });
export type ParsedConfig = z.output<typeof configSchema>;

/** The keys that each section knows, by its path; list positions are left out of the path. */
export const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(rootShape),
  mount: Object.keys(mountShape),
  http: Object.keys(httpShape),
  lease: Object.keys(leaseShape),
  replication: Object.keys(replicationShape),
  'replication.retain': Object.keys(retainShape),
  writes: Object.keys(writesShape),
  proxy: Object.keys(proxyShape),
  'proxy.cookie': Object.keys(cookieShape),
  durability: Object.keys(durabilityShape),
  'durability.databases.*': Object.keys(durabilityRuleShape),
  backup: Object.keys(backupShape),
  'backup.retain': Object.keys(storeRetainShape),
  'backup.encryption': Object.keys(encryptionShape),
  log: Object.keys(logShape),
};

function isStreamUrl({ protocol, hash }: URL): boolean {
  return (protocol === 'ws:' || protocol === 'wss:') && hash === '';
}

function proxyUrl(want: string) {
  return converted(want, (value) => originOf(value, ['http:', 'https:']));
}

/** `http://host:port`, or only `host:port`. */
function readTarget(value: string): string | undefined {
  const address = parseListen(value);
  return address === undefined ? originOf(value, ['http:']) : `http://${formatListen(address)}`;
}

/** A URL that names a host and a port, and nothing else. */
function originOf(value: string, protocols: readonly string[]): string | undefined {
  if (!URL.canParse(value)) return undefined;
  const { protocol, origin, username, pathname, search, hash } = new URL(value);
  if (!protocols.includes(protocol)) return undefined;
  return username === '' && pathname === '/' && search === '' && hash === '' ? origin : undefined;
}

/** A path is a store as it is; everything else has to be an address that `openStore` takes. */
function storeFlaw(value: string): string | undefined {
  if (isAbsolute(value) || /^\.{1,2}(\/|$)/.test(value)) return undefined;
  try {
    parseStoreUrl(value);
    return undefined;
  } catch (error) {
    // `"the address" is wrong`: the address is shown already, and its hint says what is wanted here.
    return error instanceof Error ? error.message.replace(/^"(?:[^"\\]|\\.)*" /, '') : String(error);
  }
}
