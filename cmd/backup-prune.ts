import type { Command } from 'commander';
import type { Pruning } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { errorCode } from '../src/errors.js';
import { formatTxid } from '../src/ltx/index.js';
import { configuredStores } from './configured-stores.js';
import { fail } from './failure.js';
import { formatTable } from './table.js';

const EXAMPLES = `
Applies backup.retain of the config to its stores, as the primary does by itself about once a day. What the newest state is
restored from stays, whatever the config says.

Examples:
  sluice backup prune --dry-run
  sluice backup prune -c /etc/sluice.yml --json`;

interface Options {
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

interface Row extends Pruning {
  readonly url: string;
  readonly name: string;
}

export function registerPrune(backup: Command): void {
  backup
    .command('prune')
    .description('remove what the stores of the config need not keep any more')
    .option('-c, --config <file>', 'the config file (default: sluice.yml)')
    .option('--dry-run', 'only show what would be removed')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { prune } = await import('../src/backup/index.js');
  const dryRun = options.dryRun === true;
  const rows: Row[] = [];
  const failures: unknown[] = [];
  for await (const { config, name, store } of configuredStores(options.config)) {
    try {
      rows.push({ url: store.url, name, ...(await prune(store, config.retain, dryRun)) });
    } catch (error) {
      // It is one database's: the others can be pruned.
      if (errorCode(error) !== 'STORE_MANIFEST') throw error;
      failures.push(error);
    }
  }
  if (options.json === true) console.log(JSON.stringify(rows.map(asJson), null, 2));
  else if (rows.length > 0 || failures.length === 0) console.log(asText(rows, dryRun));
  for (const error of failures) fail(error);
}

function asText(rows: readonly Row[], dryRun: boolean): string {
  if (rows.length === 0) return 'no backup yet in any of the stores';
  const lines: string[] = [];
  for (const { url, removed, kept } of rows) {
    const verb = dryRun ? 'would be removed' : 'removed';
    lines.push(`${url}: ${removed.length} files, ${bytes(removed)} ${verb}; ${kept.length}, ${bytes(kept)} stay`);
    if (!dryRun) continue;
    const cells = removed.map((file) => [
      `  ${file.level}`,
      `${formatTxid(file.minTxid)}-${formatTxid(file.maxTxid)}`,
      new Date(file.timeMs).toISOString(),
      formatSize(file.sizeBytes),
    ]);
    if (cells.length > 0) lines.push(...formatTable(['  LEVEL', 'TXIDS', 'TIME', 'SIZE'], cells));
  }
  return lines.join('\n');
}

function asJson({ url, name, removed, kept }: Row): object {
  return {
    url,
    database: name,
    removed: removed.map((file) => ({
      level: file.level,
      minTxid: formatTxid(file.minTxid),
      maxTxid: formatTxid(file.maxTxid),
      time: new Date(file.timeMs).toISOString(),
      sizeBytes: file.sizeBytes,
    })),
    kept: kept.length,
  };
}

function bytes(files: readonly { readonly sizeBytes: number }[]): string {
  return formatSize(files.reduce((sum, file) => sum + file.sizeBytes, 0));
}
