import type { Command } from 'commander';
import { FAILURE } from './failure.js';

const EXAMPLES = `
Examples:
  sluice doctor
  sluice doctor -c /etc/sluice.yml       looks at that node's data folder
  sluice doctor --json | jq '.[] | select(.result != "ok")'

Exit code 1 if something keeps Sluice from working here; what only makes it slower is a warning.`;

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('check this machine, and say what to change')
    .option('-c, --config <file>', 'the config file (default: sluice.yml if there is one, else the defaults)')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: { config?: string; json?: boolean }) => {
      const { loadConfig } = await import('../src/config/load.js');
      const { examine } = await import('../src/doctor/index.js');
      const findings = await examine(loadConfig({ file: options.config }));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = FAILURE;
      if (options.json) return console.log(JSON.stringify(findings, null, 2));
      const width = Math.max(...findings.map(({ subject }) => subject.length));
      for (const { result, subject, message, hint } of findings) {
        console.log(`${result.padEnd(4)}  ${subject.padEnd(width)}  ${message}${hint === '' ? '' : `. ${hint}`}`);
      }
    });
}
