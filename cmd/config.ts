import type { Command } from 'commander';
import { FAILURE } from './failure.js';

const EXAMPLES = `
Examples:
  sluice config check
  sluice config check -c /etc/sluice.yml
  sluice config check --json | jq .mount     what holds in the end, secrets masked`;

export function registerConfig(program: Command): void {
  const config = program.command('config').description('check a config file');
  config
    .command('check')
    .description('say what is wrong in a config file, with line and column')
    .option('-c, --config <file>', 'the config file (default: sluice.yml)')
    .option('--json', 'print the effective configuration, or the problems, as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: { config?: string; json?: boolean }) => {
      const { ConfigError, formatProblem, maskConfig } = await import('../src/config/index.js');
      const { loadConfig } = await import('../src/config/load.js');
      try {
        const effective = loadConfig({ file: options.config });
        if (options.json) console.log(JSON.stringify(maskConfig(effective), null, 2));
        else
          console.log(effective.file === null ? 'no sluice.yml here: the defaults hold' : `${effective.file} is good`);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        process.exitCode = FAILURE;
        if (options.json) console.log(JSON.stringify({ problems: error.problems }, null, 2));
        else for (const problem of error.problems) console.error(formatProblem(problem));
      }
    });
}
