import type { Command } from 'commander';
import { findNode, type NodeOptions, readStatus } from './node-client.js';

const EXAMPLES = `
Examples:
  sluice status
  sluice status -c /etc/sluice.yml
  sluice status --url http://127.0.0.1:20302
  sluice status --json | jq '.databases[].txid'`;

interface Options extends NodeOptions {
  readonly json?: boolean;
}

export function registerStatus(program: Command): void {
  program
    .command('status')
    .description("show a node's role, databases, replicas, backups and problems")
    .option('-c, --config <file>', 'take the address from this config file (default: sluice.yml, or 127.0.0.1:20202)')
    .option('--url <url>', 'the address of the node, like http://127.0.0.1:20202')
    .option('--token <token>', 'its http.token (default: from the config file, or $SLUICE_TOKEN)')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const status = await readStatus(await findNode(options));
      if (options.json) return console.log(JSON.stringify(status, null, 2));
      const { formatStatus } = await import('./status-text.js');
      console.log(formatStatus(status, Date.now()));
    });
}
