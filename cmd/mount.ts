import type { Command } from 'commander';
import { fail } from './failure.js';

const EXAMPLES = `
Examples:
  sluice mount                            a primary on ./data, mounted at ./data/mnt
  sluice mount -c /etc/sluice.yml         as the file says
  sluice mount -c sluice.yml -- npm start
      starts the application when the mount is ready (on a replica: when it has caught up), passes
      signals on to it, stops when it ends, and exits with its code

Ctrl-C (or SIGTERM) stops: the backup is brought up to date, the mount is removed, nothing is lost.
A second Ctrl-C does not wait for applications that still use the mount.`;

export function registerMount(program: Command): void {
  program
    .command('mount')
    .description('run one node: mount its databases, replicate and back them up')
    .usage('[-c FILE] [-- COMMAND…]')
    .option('-c, --config <file>', 'the config file (default: sluice.yml if there is one, else the defaults)')
    .argument('[command...]', 'the application to run while mounted, after --')
    .passThroughOptions()
    .addHelpText('after', EXAMPLES)
    .action(async (command: string[], options: { config?: string }) => {
      const { runKeeper } = await import('../src/keeper/index.js');
      try {
        process.exitCode = await runKeeper({
          file: options.config ?? null,
          command: command.length === 0 ? null : command,
        });
      } catch (error) {
        fail(error);
      }
      // Nothing is left to do, and a child that could not be ended must not keep this process.
      process.exit();
    });
}
