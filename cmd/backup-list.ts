import type { Command } from 'commander';
import type { Inventory } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { formatTxid } from '../src/ltx/index.js';
import { addStoreOptions, openSource, type StoreOptions } from './store-options.js';
import { formatTable } from './table.js';

const EXAMPLES = `
SOURCE is the address of one database's backup: the backup's url of sluice.yml, then the database's name.

Examples:
  sluice backup list file:///var/backups/app/app.db
  sluice backup list --json s3://bucket/app/app.db | jq '.snapshots[].time'

Restore a state by --txid or --timestamp: see sluice restore --help.`;

interface Options extends StoreOptions {
  readonly json?: boolean;
}

export function registerList(backup: Command): void {
  addStoreOptions(
    backup
      .command('list')
      .description('show what a store holds of one database: snapshots, levels, what can be restored')
      .argument('<source>', 'file:///folder/app.db or s3://bucket/path/app.db'),
  )
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(source: string, options: Options): Promise<void> {
  const { takeInventory } = await import('../src/backup/index.js');
  const root = await openSource(source, options);
  try {
    const inventory = await takeInventory(root.database(''));
    console.log(options.json === true ? JSON.stringify(asJson(inventory), null, 2) : asText(inventory));
  } finally {
    root.close();
  }
}

function asText(inventory: Inventory): string {
  const { newest, oldest, snapshots, levels, manifest, manifestProblem } = inventory;
  if (inventory.files === 0) return `${inventory.url}: no backup here`;
  const lines = [`${inventory.url}: ${inventory.files} files, ${formatSize(inventory.sizeBytes)}`];
  if (newest === undefined || oldest === undefined) lines.push('nothing can be restored: there is no snapshot');
  else {
    lines.push(`newest   ${formatTxid(newest.txid)} of ${time(newest.timeMs)}`);
    lines.push(`oldest   ${formatTxid(oldest.txid)} of ${time(oldest.timeMs)}`);
  }
  if (inventory.hasGap) lines.push('a file is missing: there are newer ones that nothing leads to');
  if (manifest !== undefined) lines.push(`writer   ${manifest.owner}, generation ${manifest.generation}`);
  if (manifestProblem !== undefined) lines.push(`${manifestProblem}; what is told here is by the names of the files`);
  if (snapshots.length > 0) {
    const rows = snapshots.map((file) => [formatTxid(file.maxTxid), time(file.timeMs), formatSize(file.sizeBytes)]);
    lines.push('', ...formatTable(['SNAPSHOT', 'TIME', 'SIZE'], rows));
  }
  if (levels.length > 0) {
    const rows = levels.map((level) => [
      String(level.level),
      String(level.files),
      formatSize(level.sizeBytes),
      `${formatTxid(level.minTxid)}..${formatTxid(level.maxTxid)}`,
      `${time(level.firstMs)} to ${time(level.lastMs)}`,
    ]);
    lines.push('', ...formatTable(['LEVEL', 'FILES', 'SIZE', 'TXIDS', 'TIMES'], rows));
  }
  return lines.join('\n');
}

function asJson(inventory: Inventory): object {
  const { url, files, sizeBytes, newest, oldest, hasGap, snapshots, levels, manifest, manifestProblem } = inventory;
  const end = (state: Inventory['newest']) => state && { txid: formatTxid(state.txid), time: time(state.timeMs) };
  return {
    url,
    files,
    sizeBytes,
    newest: end(newest) ?? null,
    oldest: end(oldest) ?? null,
    hasGap,
    writer: manifest === undefined ? null : { owner: manifest.owner, generation: manifest.generation },
    manifestProblem: manifestProblem ?? null,
    snapshots: snapshots.map((file) => ({
      txid: formatTxid(file.maxTxid),
      time: time(file.timeMs),
      sizeBytes: file.sizeBytes,
    })),
    levels: levels.map((level) => ({
      level: level.level,
      files: level.files,
      sizeBytes: level.sizeBytes,
      minTxid: formatTxid(level.minTxid),
      maxTxid: formatTxid(level.maxTxid),
      first: time(level.firstMs),
      last: time(level.lastMs),
    })),
  };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
