import type { Command } from 'commander';
import type { Inventory } from '../src/backup/index.js';
import { formatDuration, formatSize } from '../src/config/index.js';
import { formatTxid } from '../src/ltx/index.js';
import { configuredStores } from './configured-stores.js';
import { formatTable } from './table.js';

const EXAMPLES = `
Reads the stores, not the node: it works where no node runs. How far a running node is, sluice status shows.

Examples:
  sluice backup status
  sluice backup status -c /etc/sluice.yml --json`;

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

interface Row {
  readonly url: string;
  readonly name: string;
  readonly inventory: Inventory;
}

export function registerBackupStatus(backup: Command): void {
  backup
    .command('status')
    .description('show what the stores of the config hold of each database')
    .option('-c, --config <file>', 'the config file (default: sluice.yml)')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { takeInventory } = await import('../src/backup/index.js');
  const rows: Row[] = [];
  for await (const { config, name, store } of configuredStores(options.config)) {
    rows.push({ url: config.url, name, inventory: await takeInventory(store) });
  }
  console.log(options.json === true ? JSON.stringify(rows.map(asJson), null, 2) : asText(rows, Date.now()));
}

function asText(rows: readonly Row[], nowMs: number): string {
  if (rows.length === 0) return 'no backup yet in any of the stores';
  const lines: string[] = [];
  for (const url of new Set(rows.map((row) => row.url))) {
    const cells = rows
      .filter((row) => row.url === url)
      .map(({ name, inventory: { newest, oldest, files, sizeBytes, snapshots, hasGap, manifestProblem } }) => [
        name,
        newest === undefined ? 'none' : formatTxid(newest.txid),
        newest === undefined ? '' : formatDuration(Math.max(0, nowMs - newest.timeMs)),
        oldest === undefined ? '' : new Date(oldest.timeMs).toISOString(),
        String(snapshots.length),
        String(files),
        formatSize(sizeBytes),
        [hasGap ? 'a file is missing' : '', manifestProblem === undefined ? '' : 'the manifest cannot be understood']
          .filter((remark) => remark !== '')
          .join('; '),
      ]);
    if (lines.length > 0) lines.push('');
    lines.push(url, ...formatTable(['DATABASE', 'NEWEST', 'AGE', 'SINCE', 'SNAPSHOTS', 'FILES', 'SIZE', ''], cells));
  }
  return lines.join('\n');
}

function asJson({ url, name, inventory }: Row): object {
  const { newest, oldest, files, sizeBytes, snapshots, hasGap, manifest, manifestProblem } = inventory;
  return {
    store: url,
    database: name,
    url: inventory.url,
    newest:
      newest === undefined ? null : { txid: formatTxid(newest.txid), time: new Date(newest.timeMs).toISOString() },
    oldest:
      oldest === undefined ? null : { txid: formatTxid(oldest.txid), time: new Date(oldest.timeMs).toISOString() },
    snapshots: snapshots.length,
    files,
    sizeBytes,
    hasGap,
    writer: manifest === undefined ? null : { owner: manifest.owner, generation: manifest.generation },
    manifestProblem: manifestProblem ?? null,
  };
}
