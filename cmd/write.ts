import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../src/config/units.js';
import type { PassedSignal } from '../src/keeper/command.js';

const DEFAULT_TIMEOUT_MS = 30_000;

const EXAMPLES = `
Examples:
  sluice write --db app.db -- npm run migrate        the node of ./sluice.yml
  sluice write --db app.db -c /etc/sluice.yml -- sqlite3 /srv/mnt/app.db ".read migration.sql"
  sluice write --db tenants/7.db --mount /srv/mnt --timeout 5m -- ./import.sh

Has the database's write lock while the command runs, and exits with its code. On a replica that is the primary's: nobody
writes elsewhere meanwhile, and each of the command's transactions costs one round trip. Wants mount.locks: sluice there.
On the primary it keeps out other commands that are run like this there, and nobody else: no replica, not by this either.
The primary takes the lock back after its writes.holdByHand (10m); the command's next commit fails then.`;

interface Options {
  readonly db: string;
  readonly config?: string;
  readonly mount?: string;
  readonly timeout: number;
}

export function registerWrite(program: Command): void {
  program
    .command('write')
    .description("run a command, like a migration, with a database's write lock of the primary")
    .usage('--db NAME [-c FILE | --mount DIR] [--timeout 30s] -- COMMAND…')
    .requiredOption('--db <name>', 'the database: its path under the mount')
    .option(
      '-c, --config <file>',
      'the config file of the node (default: sluice.yml if there is one, else the defaults)',
    )
    .option('--mount <dir>', 'the mounted folder, instead of a config file')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait for the lock')
        .argParser(parseTimeout)
        .default(DEFAULT_TIMEOUT_MS, '30s'),
    )
    .argument('<command...>', 'the command to run, after --')
    .passThroughOptions()
    .addHelpText('after', EXAMPLES)
    .action(async (command: string[], options: Options, self: Command) => {
      if (options.config !== undefined && options.mount !== undefined) {
        self.error("error: options '-c' and '--mount' exclude each other");
      }
      const { connect } = await import('../src/client/index.js');
      const { withWriteLock } = connect(options.mount ?? (await mountOf(options.config)));
      process.exitCode = await withWriteLock(options.db, () => run(command), { timeoutMs: options.timeout });
    });
}

async function mountOf(config: string | undefined): Promise<string> {
  const { loadConfig } = await import('../src/config/load.js');
  return loadConfig({ file: config }).mount.path;
}

/** Runs the command to its end. Until then the signals that come are the command's. */
async function run(argv: readonly string[]): Promise<number> {
  const { Command: Child, PASSED_SIGNALS } = await import('../src/keeper/command.js');
  let child: InstanceType<typeof Child> | undefined;
  const early: PassedSignal[] = [];
  const pass = (signal: PassedSignal): void => {
    if (child === undefined) early.push(signal);
    else child.signal(signal);
  };
  // Before it runs: one that came in between would end this process, and not the command.
  for (const signal of PASSED_SIGNALS) process.on(signal, pass);
  try {
    child = new Child(argv, (message) => process.stderr.write(`sluice: ${message}\n`));
    for (const signal of early) child.signal(signal);
    return await child.ended;
  } finally {
    for (const signal of PASSED_SIGNALS) process.off(signal, pass);
  }
}

function parseTimeout(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('Want a duration like 500ms, 30s or 5m.');
  return ms;
}
