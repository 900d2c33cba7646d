import type { Command } from 'commander';
import { SluiceError } from '../src/errors.js';
import { backUpNow, findNode, type NodeOptions } from './node-client.js';
import { formatTable } from './table.js';

const EXAMPLES = `
Examples:
  sluice backup now                     before a migration, or before the machine goes away
  sluice backup now --snapshot          after a warning about a damaged file in the store
  sluice backup now --json && shutdown`;

interface Options extends NodeOptions {
  readonly snapshot?: boolean;
  readonly json?: boolean;
}

export function registerNow(backup: Command): void {
  backup
    .command('now')
    .description('have the running primary store all that is not stored yet, and wait until it is')
    .option('-c, --config <file>', 'take the address from this config file (default: sluice.yml, or 127.0.0.1:20202)')
    .option('--url <url>', 'the address of the node, like http://127.0.0.1:20202')
    .option('--token <token>', 'its http.token (default: from the config file, or $SLUICE_TOKEN)')
    .option('--snapshot', 'store whole databases too, so that nothing older is needed to restore them')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(options: Options): Promise<void> {
  const stores = await backUpNow(await findNode(options), options.snapshot === true);
  if (options.json === true) console.log(JSON.stringify(stores, null, 2));
  else {
    for (const { url, complete, databases } of stores) {
      console.log(`${url}: ${complete ? 'everything is stored' : 'NOT everything is stored'}`);
      const rows = databases.map(({ name, txid }) => [`  ${name}`, txid]);
      if (rows.length > 0) console.log(formatTable(['  DATABASE', 'STORED UP TO'], rows).join('\n'));
    }
  }
  const failed = stores.find(({ complete }) => !complete);
  if (failed === undefined) return;
  const why =
    failed.lastError ??
    'it takes longer than this command waits, or somebody is in the middle of a transaction without a journal';
  throw new SluiceError('BACKUP_INCOMPLETE', `${failed.url}: ${why}`, 'The node goes on trying: see sluice status');
}
