import { basename } from 'node:path';
import type { Command } from 'commander';
import type { RestoreResult, S3Options, StoreRoot } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { errorCode, SluiceError } from '../src/errors.js';
import { formatChecksum, formatTxid } from '../src/ltx/index.js';
import { parseTxidOption } from './txid-option.js';

const MAX_NAMES_SHOWN = 10;

const EXAMPLES = `
SOURCE is the address of one database's backup: the backup's url of sluice.yml, then the database's name.

Examples:
  sluice restore file:///var/backups/app/app.db            to ./app.db
  sluice restore -o /tmp/app.db s3://bucket/app/app.db
  sluice restore --txid 2a -o before.db file://./backup/app.db
  sluice restore --endpoint http://127.0.0.1:7070 --path-style s3://bucket/app.db

Credentials are found as AWS tools find them (AWS_ACCESS_KEY_ID …, --profile). Every checksum is verified; the
file gets its name only when it is whole. What Litestream wrote can be restored too.`;

interface Options {
  readonly output?: string;
  readonly txid?: number;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  readonly profile?: string;
}

export function registerRestore(program: Command): void {
  program
    .command('restore')
    .description('make a database file from a backup')
    .argument('<source>', 'file:///folder/app.db or s3://bucket/path/app.db')
    .option('-o, --output <path>', 'the file to make (default: the name in SOURCE, here)')
    .option(
      '--txid <txid>',
      'the state after this transaction, in hex as status shows it (default: the newest)',
      parseTxidOption,
    )
    .option('--force', 'replace the file if it exists')
    .option('--json', 'say what was restored as JSON')
    .option('--endpoint <url>', 'S3: the service, if it is not AWS')
    .option('--region <region>', 'S3: the region')
    .option('--path-style', 'S3: the bucket stands in the path, not in the host name')
    .option('--profile <name>', 'S3: the AWS profile')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(source: string, options: Options): Promise<void> {
  const { openStore, parseStoreUrl, restore } = await import('../src/backup/index.js');
  const place = parseStoreUrl(source);
  const output = options.output ?? basename(place.path);
  if (output === '')
    throw new SluiceError('RESTORE_OUTPUT', `${source} names no database`, 'Name the file to make with -o');
  const { startProgress } = await import('./progress.js');
  const abort = new AbortController();
  const interrupt = () => abort.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const root = openStore(source, s3Options(options));
  const progress = startProgress('restoring', options.json === true);
  try {
    const result = await restore({
      store: root.database(''),
      output,
      ...(options.txid === undefined ? {} : { txid: options.txid }),
      force: options.force === true,
      onProgress: ({ doneBytes, totalBytes }) => progress.update(doneBytes, totalBytes),
      signal: abort.signal,
    });
    progress.stop();
    report(result, options.json === true);
  } catch (error) {
    progress.stop();
    throw await withNames(error, root);
  } finally {
    root.close();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

function s3Options(options: Options): S3Options {
  const { endpoint, region, pathStyle, profile } = options;
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(profile === undefined ? {} : { profile }),
  };
}

/** Where there is no backup at the address, those below it are probably what was meant. */
async function withNames(error: unknown, root: StoreRoot): Promise<unknown> {
  if (!(error instanceof SluiceError) || !['RESTORE_EMPTY', 'STORE_NOT_FOUND'].includes(errorCode(error) ?? ''))
    return error;
  const names = await root.databaseNames(MAX_NAMES_SHOWN).catch(() => []);
  const hint =
    names.length === 0
      ? "An address is the backup's url in sluice.yml, then the database's name"
      : `There are backups of ${names.join(', ')} below it: add one of the names to the address`;
  return new SluiceError(error.code, error.message, hint, { cause: error });
}

function report(result: RestoreResult, asJson: boolean): void {
  const txid = formatTxid(result.txid);
  const time = new Date(result.timestampMs).toISOString();
  if (asJson) {
    const { output, exact, pageSize, pageCount, sizeBytes, files, readBytes } = result;
    const nextTxid = result.nextTxid === undefined ? null : formatTxid(result.nextTxid);
    const checksum = formatChecksum(result.checksum);
    console.log(
      JSON.stringify({
        output,
        txid,
        exact,
        nextTxid,
        checksum,
        time,
        pageSize,
        pageCount,
        sizeBytes,
        files,
        readBytes,
      }),
    );
    return;
  }
  console.log(
    `${result.output}: ${formatSize(result.sizeBytes)} at TXID ${txid} of ${time}, from ${result.files} files; checksums are right`,
  );
  if (!result.exact) {
    const next = result.nextTxid === undefined ? '' : `; the next one there is ${formatTxid(result.nextTxid)}`;
    console.log(`the backup does not have the TXID asked for by itself: this is the nearest before it${next}`);
  }
}
