import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { errorCode, SluiceError } from '../errors.js';
import { formatListen } from './listen.js';
import { LOCAL_DURABILITY } from './local-durability.js';
import { SECRET_KEYS } from './mask.js';
import { checkMeaning } from './meaning.js';
import { ConfigError } from './problem.js';
import { configSchema, KNOWN_KEYS, type ParsedConfig } from './schema.js';
import { ConfigSource, type KeyPath } from './source.js';
import { nearest } from './suggest.js';
import type { BackupConfig, Config, DurabilityConfig, DurabilityRule, ProxyConfig, WritesConfig } from './types.js';

const DEFAULT_FILE = 'sluice.yml';
const MAX_FILE_BYTES = 2 ** 20;
const MAX_SHOWN_CHARS = 60;

export interface LoadConfigOptions {
  /** The file asked for; without one `sluice.yml` of the folder is used if it exists, else the defaults. */
  readonly file?: string | undefined;
  /** Folder that the file's name, and without a file the default paths, are relative to. */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads and checks the configuration. Throws ConfigError with every problem that the file has, or SluiceError
 * `CONFIG_UNREADABLE`.
 */
export function loadConfig(options: LoadConfigOptions = {}): Config {
  const cwd = options.cwd ?? process.cwd();
  const path = resolve(cwd, options.file ?? DEFAULT_FILE);
  const text = readConfig(path, options.file !== undefined);
  const shown = options.file ?? DEFAULT_FILE;
  const source = new ConfigSource(shown, text ?? '', options.env ?? process.env);
  if (source.problems.length > 0) throw new ConfigError(source.problems);

  const parsed = configSchema.safeParse(source.value());
  if (!parsed.success) {
    for (const issue of parsed.error.issues) reportIssue(source, issue);
    throw new ConfigError(sorted(source));
  }
  const config = effective(parsed.data, text === undefined ? null : path, text === undefined ? cwd : dirname(path));
  checkMeaning(config, source);
  if (source.problems.length > 0) throw new ConfigError(sorted(source));
  return config;
}

function readConfig(path: string, required: boolean): string | undefined {
  try {
    const bytes = readFileSync(path);
    if (bytes.length <= MAX_FILE_BYTES) return bytes.toString('utf8');
  } catch (cause) {
    if (!required && errorCode(cause) === 'ENOENT') return undefined;
    const name = relative(process.cwd(), path);
    if (errorCode(cause) === 'ENOENT') {
      throw new SluiceError('CONFIG_UNREADABLE', `no config file ${name}`, 'Check the path after -c', { cause });
    }
    const reason = errorCode(cause) ?? 'unknown error';
    throw new SluiceError('CONFIG_UNREADABLE', `cannot read ${name} (${reason})`, 'Check the path after -c', { cause });
  }
  throw new SluiceError('CONFIG_UNREADABLE', `${path} is larger than 1 MiB`, 'Name a sluice.yml after -c');
}

interface Issue {
  readonly code?: string | undefined;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

function reportIssue(source: ConfigSource, issue: Issue): void {
  const path = issue.path.filter((key) => typeof key !== 'symbol');
  if (issue.code === 'unrecognized_keys' && issue.keys !== undefined) {
    const known = knownKeys(path);
    for (const key of issue.keys) source.reportKey([...path, key], unknownKey(key, known));
    return;
  }
  const got = source.at(path);
  const want = `want ${issue.message}`;
  source.reportValue(path, got === undefined ? `missing; ${want}` : `got ${show(path, got)}; ${want}`);
}

/** Below `durability.databases` are names, not keys. */
function knownKeys(path: KeyPath): readonly string[] {
  const keys = path.filter((key) => typeof key === 'string');
  const section = keys[0] === 'durability' && keys.length > 2 ? 'durability.databases.*' : keys.join('.');
  return KNOWN_KEYS[section] ?? [];
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return meant === undefined ? `unknown key; known here: ${known.join(', ')}` : `unknown key; did you mean ${meant}?`;
}

function show(path: KeyPath, value: unknown): string {
  if (SECRET_KEYS.has(String(path[path.length - 1]))) return 'a value that is not shown';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object' && value !== null) return 'a section';
  const text = JSON.stringify(value).replace(/\/\/[^/]*@/, '//…@');
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text;
}

function sorted(source: ConfigSource): ConfigSource['problems'] {
  return source.problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Fills in what depends on other values, and makes every path absolute. */
function effective(parsed: ParsedConfig, file: string | null, folder: string): Config {
  const data = resolve(folder, parsed.data);
  const { path, ...mount } = parsed.mount;
  return {
    file,
    data,
    mount: { path: path === undefined ? join(data, 'mnt') : resolve(folder, path), ...mount },
    http: {
      listen: parsed.http.listen.address,
      token: parsed.http.token ?? null,
      healthLagMs: parsed.http.healthLag,
    },
    lease: {
      type: parsed.lease.type,
      role: parsed.lease.role,
      primary: parsed.lease.primary ?? null,
      advertise: parsed.lease.advertise ?? null,
    },
    replication: {
      listen: parsed.replication.listen.address,
      token: parsed.replication.token ?? null,
      retain: { ageMs: parsed.replication.retain.age, sizeBytes: parsed.replication.retain.size },
      heartbeatMs: parsed.replication.heartbeat,
      upstream: parsed.replication.upstream,
    },
    writes: effectiveWrites(parsed),
    proxy: effectiveProxy(parsed),
    durability: effectiveDurability(parsed.durability),
    backup: parsed.backup.map((store) => effectiveBackup(store, folder)),
    restore: parsed.restore,
    log: parsed.log,
    exec: parsed.exec ?? null,
  };
}

/** A primary takes writes if nothing else is said; a replica has them only where locks are ours, which makes reads slower. */
function effectiveWrites({ writes, lease, mount }: ParsedConfig): WritesConfig {
  const { forward, wait, keep, commit, turn, hold, holdByHand, silence } = writes;
  return {
    forward: forward ?? (lease.role === 'primary' || mount.locks === 'sluice'),
    waitMs: wait,
    keepMs: keep,
    commitMs: commit,
    turnMs: turn,
    holdMs: hold,
    holdByHandMs: holdByHand,
    silenceMs: silence,
  };
}

/** What a proxy listens on is its address for others too, unless that is a wildcard. */
function effectiveProxy({ proxy, lease }: ParsedConfig): ProxyConfig | null {
  if (proxy === undefined || proxy.listen.address === null) return null;
  const listen = proxy.listen.address;
  const wildcard = listen.host === '0.0.0.0' || listen.host === '::' || listen.port === 0;
  const own = lease.role === 'primary' && !wildcard ? `http://${formatListen(listen)}` : null;
  const { flyReplay } = proxy;
  return {
    listen,
    target: proxy.target,
    advertise: proxy.advertise ?? own,
    primary: proxy.primary ?? null,
    databases: proxy.databases ?? null,
    passthrough: proxy.passthrough,
    alwaysForward: proxy.alwaysForward,
    flyReplay: typeof flyReplay === 'string' ? flyReplay : flyReplay ? 'instance' : null,
    trustForwarded: proxy.trustForwarded,
    waitMs: proxy.waitLimit,
    afterWait: proxy.afterWait,
    primaryWaitMs: proxy.primaryWait,
    settleMs: proxy.settleLimit,
    connectMs: proxy.connectTimeout,
    responseMs: proxy.responseTimeout,
    idleMs: proxy.idleTimeout,
    drainMs: proxy.drainLimit,
    maxConnections: proxy.maxConnections,
    cookie: { name: proxy.cookie.name, maxAgeMs: proxy.cookie.maxAge, secure: proxy.cookie.secure },
    header: proxy.header.toLowerCase(),
  };
}

/** What an entry does not say of its time-out is as for all databases. */
function effectiveDurability({ databases, ...all }: ParsedConfig['durability']): DurabilityConfig {
  const rule = effectiveRule(all, LOCAL_DURABILITY);
  const named = Object.entries(databases).map(([pattern, entry]) => ({ pattern, ...effectiveRule(entry, rule) }));
  return { ...rule, databases: named };
}

function effectiveRule(
  parsed: ParsedConfig['durability']['databases'][string],
  { timeoutMs, onTimeout }: DurabilityRule,
): DurabilityRule {
  const { replicas = 0, backup } = parsed;
  return {
    until: backup === true ? 'backup' : replicas > 0 ? 'replicas' : 'local',
    replicas,
    timeoutMs: parsed.timeout ?? timeoutMs,
    onTimeout: parsed.onTimeout ?? onTimeout,
  };
}

function effectiveBackup(parsed: ParsedConfig['backup'][number], folder: string): BackupConfig {
  const { url, interval, levels, snapshot, retain, verify, encryption, caFile, ...given } = parsed;
  const s3 = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return {
    url: storeUrl(url, folder),
    intervalMs: interval,
    levelsMs: levels,
    snapshotMs: snapshot,
    retain: { ageMs: retain.age, snapshots: retain.snapshots, fineMs: retain.fine },
    verifyMs: verify ?? null,
    keyFile: encryption === undefined ? null : resolve(folder, encryption.key),
    ...(caFile !== undefined && { caFile: resolve(folder, caFile) }),
    ...s3,
  };
}

/** `./backup`, `/backup` and `file://./backup` are folders; a folder's URL is always absolute. */
function storeUrl(url: string, folder: string): string {
  if (url.startsWith('s3:')) return url;
  const path = url.startsWith('file://') ? decodeURIComponent(url.slice('file://'.length)) : url;
  return pathToFileURL(resolve(folder, path)).href;
}
