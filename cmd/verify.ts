import type { Command } from 'commander';
import type { VerifyResult } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { formatChecksum, formatTxid } from '../src/ltx/index.js';
import { FAILURE } from './failure.js';
import { addStoreOptions, openSource, type StoreOptions, withNames } from './store-options.js';

const EXAMPLES = `
SOURCE is the address of one database's backup: the backup's url of sluice.yml, then the database's name.

Examples:
  sluice verify file:///var/backups/app/app.db
  sluice verify --key backup.key s3://bucket/app/app.db
  sluice verify --json s3://bucket/app.db | jq .problems

Reads every file once, and writes nothing: its own checksums, that it follows the one before it, and the checksum of the
whole database after it. What Litestream wrote can be verified too; its files name no database checksums.
Exit code 1 if something is wrong.`;

interface Options extends StoreOptions {
  readonly json?: boolean;
}

export function registerVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('check a backup end to end, without restoring it')
    .argument('<source>', 'file:///folder/app.db or s3://bucket/path/app.db')
    .option('--json', 'as JSON');
  addStoreOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(source: string, options: Options): Promise<void> {
  const { verifyBackup } = await import('../src/backup/index.js');
  const { startProgress } = await import('./progress.js');
  const root = await openSource(source, options);
  const abort = new AbortController();
  const interrupt = () => abort.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const progress = startProgress('verifying', options.json === true);
  try {
    const result = await verifyBackup({
      store: root.database(''),
      onProgress: ({ doneBytes, totalBytes }) => progress.update(doneBytes, totalBytes),
      signal: abort.signal,
    });
    progress.stop();
    if (result.problemCount > 0) process.exitCode = FAILURE;
    console.log(options.json === true ? JSON.stringify(asJson(result), null, 2) : asText(result));
  } catch (error) {
    progress.stop();
    throw await withNames(error, root);
  } finally {
    root.close();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

function asJson(result: VerifyResult): object {
  const { txid, checksum, timestampMs, ...rest } = result;
  return {
    ok: result.problemCount === 0,
    txid: formatTxid(txid),
    checksum: formatChecksum(checksum),
    time: timestampMs === 0 ? null : new Date(timestampMs).toISOString(),
    ...rest,
  };
}

function asText(result: VerifyResult): string {
  const { url, files, images, readBytes, txid, checksum, timestampMs, pageSize, pageCount, problems, notes } = result;
  const wrong = result.problemCount;
  const verdict = wrong === 0 ? 'every checksum is right' : count(wrong, 'problem');
  const newest =
    txid === 0
      ? 'newest state  none'
      : `newest state  TXID ${formatTxid(txid)} of ${new Date(timestampMs).toISOString()}, checksum ${formatChecksum(checksum)}, ` +
        formatSize(pageSize * pageCount);
  return [
    `${url}: ${verdict}`,
    `read          ${count(files, 'file')}, ${images === 1 ? '1 a whole database' : `${images} of them whole databases`}, ${formatSize(readBytes)}`,
    newest,
    ...notes.map((note) => `note          ${note}`),
    ...problems.map(({ code, file, message, hint }) => {
      const what = `${file === null ? '' : `${file}: `}${message}`;
      return `${code.padEnd(12)}  ${what}${hint === '' ? '' : `. ${hint}`}`;
    }),
    ...(problems.length < wrong ? [`… and ${wrong - problems.length} more`] : []),
  ].join('\n');
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
