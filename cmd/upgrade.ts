import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { errorCode, SluiceError } from '../src/errors.js';
import { isKeeperAlive, type KeeperState, readKeeperState, type UpgradeState } from '../src/keeper/keeper-file.js';

/** How long the new node may take to be ready: loading, stopping the old one, recovering, and a replica's catching up. */
const READY_LIMIT_MS = 120_000;
const POLL_MS = 20;

const EXAMPLES = `
Examples:
  sluice upgrade                                the running node is replaced by the version installed now
  sluice upgrade -c /etc/sluice.yml --json

Applications keep their files open and wait for a moment. If the new node cannot be loaded, the old one goes on.
kill -USR2 of the process that is sluice mount does the same, and says what came of it in its log.
What the config file says by now is not looked at; nor is the keeper itself replaced. Both need a restart.`;

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

export function registerUpgrade(program: Command): void {
  program
    .command('upgrade')
    .description('replace the running node by the version that is installed now, without an unmount')
    .option(
      '-c, --config <file>',
      'the config file of the node (default: sluice.yml if there is one, else the defaults)',
    )
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const { loadConfig } = await import('../src/config/load.js');
      const { data } = loadConfig({ file: options.config });
      const upgrade = await upgradeNode(data);
      const { from, to, pauseMs } = upgrade;
      if (options.json) console.log(JSON.stringify({ from, to, pauseMs }));
      else {
        console.log(
          `upgraded from ${from.version} (pid ${from.pid}) to ${to.version} (pid ${to.pid}); applications waited ${pauseMs} ms`,
        );
      }
    });
}

type Done = UpgradeState & { readonly to: NonNullable<UpgradeState['to']> };

/** Asks the keeper of this data folder for an upgrade; resolves when the new node is ready. */
async function upgradeNode(data: string): Promise<Done> {
  const keeper = keeperOf(data);
  const before = keeper.upgrade?.number ?? 0;
  ask(keeper.pid);
  for (const untilMs = performance.now() + READY_LIMIT_MS; performance.now() < untilMs; await sleep(POLL_MS)) {
    const { upgrade } = keeperOf(data);
    if (upgrade === null || upgrade.number <= before || upgrade.state === 'running') continue;
    if (upgrade.state === 'done' && upgrade.to !== null) return { ...upgrade, to: upgrade.to };
    throw new SluiceError('UPGRADE_FAILED', `the upgrade failed: ${upgrade.reason}`, 'See the log of sluice mount');
  }
  throw new SluiceError(
    'UPGRADE_LATE',
    `the new node is not ready after ${READY_LIMIT_MS / 1000} s`,
    'It may still get there: see sluice status, and the log of sluice mount',
  );
}

function keeperOf(data: string): KeeperState {
  const state = readKeeperState(data);
  if (state !== undefined && isKeeperAlive(state)) return state;
  throw new SluiceError(
    'UPGRADE_NO_NODE',
    `no node runs on the data folder ${data}`,
    'Name its config file with -c; if none runs, sluice mount starts the version that is installed now',
  );
}

function ask(pid: number): void {
  try {
    process.kill(pid, 'SIGUSR2');
  } catch (cause) {
    throw new SluiceError(
      'UPGRADE_NOT_ALLOWED',
      `the node's keeper (pid ${pid}) cannot be signalled (${errorCode(cause)})`,
      'Run this as the user that runs sluice mount',
      { cause },
    );
  }
}
