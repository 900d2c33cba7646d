import type { Command } from 'commander';
import { VERSION } from '../src/version.js';

export function registerVersion(program: Command): void {
  program
    .command('version')
    .description('show the version of sluice, and of what it runs on')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  sluice version\n  sluice version --json')
    .action((options: { json?: boolean }) => {
      const { node, v8 } = process.versions;
      if (options.json)
        console.log(JSON.stringify({ sluice: VERSION, node, v8, platform: process.platform, arch: process.arch }));
      else console.log(`sluice ${VERSION} (Node.js ${node}, ${process.platform} ${process.arch})`);
    });
}
