import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CheckMode, RestoreOptions, RestoreResult, Store } from '../src/backup/index.js';
import { SluiceError } from '../src/errors.js';
import { DEFAULT_INTERVAL_MS, parseInterval, runFollow } from './follow.js';
import { runFork } from './fork.js';
import { addStoreOptions, openSource, type StoreOptions, withNames } from './store-options.js';
import { parseTimeOption } from './time-option.js';
import { parseTxidOption } from './txid-option.js';

const PARALLEL_LIMIT = 64;

const EXAMPLES = `
SOURCE is the address of one database's backup: the backup's url of sluice.yml, then the database's name.

Examples:
  sluice restore file:///var/backups/app/app.db            to ./app.db
  sluice restore -o /tmp/app.db s3://bucket/app/app.db
  sluice restore --timestamp "2 hours ago" -o before.db file://./backup/app.db
  sluice restore --txid 2a --dry-run file://./backup/app.db
  sluice restore --txid 2a --data ./data -o at-2a.db file://./backup/app.db
  sluice restore --fork before.db --timestamp "10 minutes ago" s3://bucket/app.db
  sluice restore --follow -o copy.db s3://bucket/app.db
  sluice restore --verify full --to-stdout s3://bucket/app.db | gzip > app.db.gz
  sluice restore --endpoint http://127.0.0.1:7070 --path-style s3://bucket/app.db

Credentials are found as AWS tools find them (AWS_ACCESS_KEY_ID …, --profile). Every checksum is verified; the
file gets its name only when it is whole. What Litestream wrote can be restored too.`;

interface Options extends StoreOptions {
  readonly output?: string;
  readonly toStdout?: boolean;
  readonly txid?: number;
  readonly timestamp?: number;
  readonly verify?: CheckMode;
  readonly dryRun?: boolean;
  readonly parallel?: number;
  readonly follow?: boolean;
  readonly fork?: string;
  readonly data?: string;
  readonly config?: string;
  readonly interval?: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function registerRestore(program: Command): void {
  const command = program
    .command('restore')
    .description('make a database file from a backup')
    .argument('<source>', 'file:///folder/app.db or s3://bucket/path/app.db')
    .option('-o, --output <path>', 'the file to make (default: the name in SOURCE, here)')
    .addOption(
      new Option('--to-stdout', 'write the finished database to the standard output').conflicts(['output', 'json']),
    )
    .option(
      '--txid <txid>',
      'the state after this transaction, in hex as status shows it (default: the newest)',
      parseTxidOption,
    )
    .addOption(
      new Option('--timestamp <time>', 'the newest state at or before 2026-03-01T14:03:00Z, or "2 hours ago"')
        .argParser((text) => parseTimeOption(text))
        .conflicts('txid'),
    )
    .addOption(
      new Option('--verify <how>', "run SQLite's quick_check or integrity_check first").choices(['quick', 'full']),
    )
    .option('--dry-run', 'say which files would be read, and stop')
    .addOption(
      new Option(
        '--data <folder>',
        "a node's data folder: each transaction in its log can be restored, also one that the backup has merged with others",
      ).conflicts(['follow']),
    )
    .option('--parallel <n>', 'requests under way at a time (default: 8)', parseParallel)
    .addOption(
      new Option('--follow', 'keep the file as the backup is, for those who read it, until Ctrl-C').conflicts([
        'txid',
        'timestamp',
        'toStdout',
        'verify',
        'dryRun',
        'parallel',
      ]),
    )
    .option('--interval <time>', 'with --follow: between two looks at the backup (default: 1s)', parseInterval)
    .addOption(
      new Option('--fork <name>', "as a new database of this name in a stopped node's data folder").conflicts([
        'output',
        'follow',
        'toStdout',
        'dryRun',
        'force',
      ]),
    )
    .option('-c, --config <file>', "with --fork: the node's config file (default: sluice.yml)")
    .option('--force', 'replace the file if it exists')
    .option('--json', 'say what was restored as JSON');
  addStoreOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(source: string, options: Options): Promise<void> {
  const output = await outputPath(source, options);
  const abort = new AbortController();
  const interrupt = () => abort.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const root = await openSource(source, options);
  try {
    const store = await withLog(root.database(''), source, options.data);
    if (options.dryRun === true) await showPlan(store, options);
    else if (options.fork !== undefined) await fork(store, options.fork, options, abort.signal);
    else if (options.follow === true) await follow(store, output, options, abort.signal);
    else if (options.toStdout === true) await restoreToStdout(store, options, abort.signal);
    else await restoreToFile(store, output, options, abort.signal);
  } catch (error) {
    throw await withNames(error, root);
  } finally {
    root.close();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** The store, and with it the log of the database of a node that has the end of the address for its name. */
async function withLog(store: Store, source: string, data: string | undefined): Promise<Store> {
  if (data === undefined) return store;
  const [{ LoggedStore, parseStoreUrl }, { viewLog }] = await Promise.all([
    import('../src/backup/index.js'),
    import('../src/database/index.js'),
  ]);
  const parts = parseStoreUrl(source)
    .path.split('/')
    .filter((part) => part !== '');
  for (let from = 0; from < parts.length; from++) {
    const log = viewLog(data, parts.slice(from).join('/'));
    if (log !== undefined) return LoggedStore.open(store, log);
  }
  throw new SluiceError(
    'RESTORE_DATA',
    `${data} has no database ${parts.at(-1) ?? ''}`,
    "Name the folder that is data: in the node's sluice.yml",
  );
}

async function follow(store: Store, output: string, options: Options, signal: AbortSignal): Promise<void> {
  const { interval = DEFAULT_INTERVAL_MS, force = false, json = false } = options;
  await runFollow(store, output, { intervalMs: interval, force, json }, signal);
}

async function outputPath(source: string, options: Options): Promise<string> {
  const { parseStoreUrl } = await import('../src/backup/index.js');
  const place = parseStoreUrl(source);
  const output = options.output ?? basename(place.path);
  if (output === '' && options.toStdout !== true && options.dryRun !== true && options.fork === undefined)
    throw new SluiceError('RESTORE_OUTPUT', `${source} names no database`, 'Name the file to make with -o');
  if (options.toStdout === true && options.dryRun !== true && process.stdout.isTTY === true)
    throw new SluiceError(
      'RESTORE_OUTPUT',
      'a database is not written to a terminal',
      'Redirect the output, or name a file with -o',
    );
  return output;
}

async function showPlan(store: Store, options: Options): Promise<void> {
  const { countRequests, findWay } = await import('../src/backup/index.js');
  const { planJson, planLines } = await import('./restore-report.js');
  const way = await findWay(store, target(options));
  const requests = countRequests(way.files);
  if (options.json === true) console.log(JSON.stringify(planJson(way, requests)));
  else for (const line of planLines(way, requests)) console.log(line);
}

async function restoreToFile(store: Store, output: string, options: Options, signal: AbortSignal): Promise<void> {
  const { resultJson, resultLines } = await import('./restore-report.js');
  const result = await runRestore(store, output, options, signal);
  const checked = options.verify !== undefined;
  if (options.json === true) console.log(JSON.stringify(resultJson(result, checked)));
  else for (const line of resultLines(result, checked, result.output)) console.log(line);
}

/** By way of a temporary file: a database is only known to be right when all of it is there. */
async function restoreToStdout(store: Store, options: Options, signal: AbortSignal): Promise<void> {
  const { resultLines } = await import('./restore-report.js');
  const folder = await mkdtemp(join(tmpdir(), 'sluice-restore-'));
  try {
    const result = await runRestore(store, join(folder, 'restored.db'), options, signal);
    await writeOut(result.output, signal);
    const lines = resultLines(result, options.verify !== undefined, 'standard output');
    for (const line of lines) process.stderr.write(`${line}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function writeOut(path: string, signal: AbortSignal): Promise<void> {
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), process.stdout, { signal });
  } catch (error) {
    const why = signal.aborted ? 'the restore was stopped' : `cannot write the database out: ${String(error)}`;
    throw new SluiceError(signal.aborted ? 'RESTORE_ABORTED' : 'RESTORE_FAILED', why, '', { cause: error });
  }
}

async function runRestore(store: Store, output: string, options: Options, signal: AbortSignal): Promise<RestoreResult> {
  const { restore } = await import('../src/backup/index.js');
  const { force = false } = options;
  return withProgress(store, options, signal, (restoring) => restore({ ...restoring, output, force }));
}

async function fork(store: Store, name: string, options: Options, signal: AbortSignal): Promise<void> {
  const { config, json = false } = options;
  await withProgress(store, options, signal, (source) => runFork(name, config, source, json));
}

async function withProgress<T>(
  store: Store,
  options: Options,
  signal: AbortSignal,
  work: (options: Omit<RestoreOptions, 'output' | 'force'>) => Promise<T>,
): Promise<T> {
  const { startProgress } = await import('./progress.js');
  const quiet = options.json === true;
  const progress = startProgress('restoring', quiet);
  const { parallel, verify } = options;
  try {
    return await work({
      store,
      ...target(options),
      ...(parallel === undefined ? {} : { parallel }),
      ...(verify === undefined ? {} : { check: verify }),
      onProgress: ({ doneBytes, totalBytes }) => progress.update(doneBytes, totalBytes),
      onCheck() {
        progress.stop();
        if (!quiet) process.stderr.write('SQLite checks the database\n');
      },
      signal,
    });
  } finally {
    progress.stop();
  }
}

function target({ txid, timestamp }: Options): { txid?: number; timestampMs?: number } {
  return { ...(txid === undefined ? {} : { txid }), ...(timestamp === undefined ? {} : { timestampMs: timestamp }) };
}

function parseParallel(text: string): number {
  const value = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= PARALLEL_LIMIT) return value;
  throw new InvalidArgumentError(`Want a number from 1 to ${PARALLEL_LIMIT}.`);
}
