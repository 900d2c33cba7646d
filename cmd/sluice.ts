#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { fail, USAGE_ERROR } from './failure.js';

/** Adds one sub-command to the program. */
type Register = (program: Command) => void;

/** Each sub-command is loaded only when it is used: the keeper has to stay small, and `status` quick. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  mount: async () => (await import('./mount.js')).registerMount,
  upgrade: async () => (await import('./upgrade.js')).registerUpgrade,
  status: async () => (await import('./status.js')).registerStatus,
  write: async () => (await import('./write.js')).registerWrite,
  restore: async () => (await import('./restore.js')).registerRestore,
  verify: async () => (await import('./verify.js')).registerVerify,
  backup: async () => (await import('./backup.js')).registerBackup,
  ltx: async () => (await import('./ltx.js')).registerLtx,
  config: async () => (await import('./config.js')).registerConfig,
  doctor: async () => (await import('./doctor.js')).registerDoctor,
  version: async () => (await import('./version.js')).registerVersion,
};

const EXAMPLES = `
Examples:
  sluice mount                          a primary on ./data, its databases under ./data/mnt
  sluice mount -c sluice.yml -- npm start
  sluice status
  sluice restore -o app.db file:///var/backups/app/app.db
  sluice doctor`;

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('sluice')
    .description('SQLite that is replicated and backed up while applications use ordinary files.')
    .helpCommand('help [command]', 'show help for a command')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(usageLine(text)) })
    .addHelpText('after', EXAMPLES);
  if (argv[2] === '--version' || argv[2] === '-V') argv = [...argv.slice(0, 2), 'version'];
  const name = argv[2] ?? '';
  const wanted = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]!] : Object.values(COMMANDS);
  for (const register of await Promise.all(wanted.map((load) => load()))) register(program);
  if (argv.length <= 2) program.help({ error: true });
  await program.parseAsync(argv);
}

/** Commander's message as one line of ours. */
function usageLine(text: string): string {
  if (!text.startsWith('error: ')) return text;
  const message = text
    .slice('error: '.length)
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  return `sluice: ${message}. See sluice ${helpWords().join(' ')} --help\n`.replace('  ', ' ');
}

/** The sub-command that was meant, as far as there is one. */
function helpWords(): string[] {
  const [name = '', second = ''] = process.argv.slice(2);
  if (!Object.hasOwn(COMMANDS, name)) return [];
  return ['dump', 'verify', 'check', 'key', 'list', 'status', 'now', 'prune'].includes(second)
    ? [name, second]
    : [name];
}

main(process.argv).catch((error: unknown) => {
  if (!(error instanceof CommanderError)) return fail(error);
  process.exitCode = error.exitCode === 0 ? 0 : USAGE_ERROR;
});
