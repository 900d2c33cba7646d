import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { Random } from '../../database/support/random.js';
import {
  type ClusterNode,
  freePort,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
  waitUntilSame,
} from '../../support/cluster.js';
import { describePlan, planFaults, strike } from '../linear/nemesis.js';
import type { NodeName } from '../linear/operations.js';
import { NODES, PRIMARY } from '../linear/roles.js';
import { Browser } from './browser.js';

export interface WebOptions {
  readonly rounds: number;
  /** Of one round. */
  readonly seconds: number;
  readonly seed: number;
  readonly browsers: number;
  readonly report: (line: string) => void;
}

const APPLICATION = fileURLToPath(new URL('./application.js', import.meta.url));
const DATABASE = 'app.db';
const TOKEN = 'three-nodes-with-proxies';
/** Shorter than faults are, so that reads are sent on to the primary too. */
const PROXY = { waitLimit: '1s', primaryWait: '2s', responseTimeout: '10s' };
const HEAL_LIMIT_MS = 90_000;
const LOG_CHARS = 8000;

interface Site {
  readonly node: ClusterNode;
  readonly url: string;
  readonly application: ChildProcess;
}

/**
 * Three nodes of this machine, each with a proxy and an application, and people who go from one to the other with their cookies,
 * while nodes are stopped and killed: each reads what he wrote, wherever he reads it.
 */
export class WebCampaign {
  private readonly sites = new Map<NodeName, Site>();

  constructor(private readonly options: WebOptions) {}

  /** Rejects with what was wrong, the faults, and the nodes' logs. All that was started is ended. */
  async run(): Promise<Browser[]> {
    const all: Browser[] = [];
    try {
      await this.start();
      for (let round = 0; round < this.options.rounds; round++) all.push(...(await this.round(round)));
      return all;
    } finally {
      for (const { application } of this.sites.values()) application.kill('SIGKILL');
      await stopAll();
    }
  }

  private async start(): Promise<void> {
    for (const name of NODES) {
      const [port, target] = [await freePort(), await freePort()];
      const own = {
        replication: { token: TOKEN },
        proxy: { listen: `127.0.0.1:${port}`, target: `127.0.0.1:${target}`, ...PROXY },
      };
      const primary = this.sites.get(PRIMARY)?.node;
      const node = primary === undefined ? await startPrimary(own) : await startReplica(primary, own);
      if (primary === undefined) {
        const db = new Sqlite(node.path(DATABASE));
        db.pragma('journal_mode = wal');
        db.exec('CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER)');
        db.close();
      } else await waitUntilSame(primary, node, DATABASE);
      const application = spawn(process.execPath, [APPLICATION, String(target), node.path(DATABASE), name], {
        cwd: '/',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(application.stdout!, 'data', { signal: AbortSignal.timeout(HEAL_LIMIT_MS) });
      this.sites.set(name, { node, url: `http://127.0.0.1:${port}`, application });
    }
    await this.healed();
  }

  private async round(round: number): Promise<Browser[]> {
    const { seed, seconds, browsers: count, report } = this.options;
    const random = new Random(seed * 1000 + round);
    const millis = seconds * 1000;
    const plan = planFaults(random, millis, NODES, []).filter(({ fault }) => fault.name.endsWith('node'));
    const about = `round ${round}: ${describePlan(plan) || 'no faults'}`;
    const urls = [...this.sites.values()].map(({ url }) => url);
    const browsers = Array.from(
      { length: count },
      (_, i) => new Browser(`${round}-${i}`, urls, new Random(random.below(1e9))),
    );
    const nodes = new Map([...this.sites].map(([name, { node }]) => [name, node] as const));
    const untilMs = performance.now() + millis;
    const working = Promise.all(browsers.map((browser) => browser.work(untilMs)));
    await strike(plan, { nodes, machines: new Map(), clients: () => [], replace: () => {} }, random);
    await working;
    await this.healed();
    for (const browser of browsers) await browser.lookEverywhere();
    const wrong = browsers.flatMap((browser) => browser.wrong);
    if (wrong.length > 0) throw new Error(`${about}\n${wrong.join('\n')}\n${this.logs()}`);
    report(`${about}\n  ${describeAll(browsers)}`);
    return browsers;
  }

  /** All proxies answer again. */
  private async healed(): Promise<void> {
    for (const { url, node } of this.sites.values()) {
      await node.ready(HEAL_LIMIT_MS);
      const isHealthy = async () => (await fetch(`${url}/.sluice/health`).catch(() => undefined))?.ok === true;
      await waitFor(isHealthy, HEAL_LIMIT_MS, () => node.log.slice(-LOG_CHARS));
    }
  }

  private logs(): string {
    return [...this.sites]
      .map(([name, { node }]) => `--- log of the ${name}:\n${node.log.slice(-LOG_CHARS)}`)
      .join('\n');
  }
}

/** In one line. */
export function describeAll(browsers: readonly Browser[]): string {
  const sum = (maps: readonly ReadonlyMap<string, number>[]) => {
    const all = new Map<string, number>();
    for (const map of maps) for (const [key, count] of map) all.set(key, (all.get(key) ?? 0) + count);
    return [...all].map(([key, count]) => `${key} ${count}`).join(', ') || 'none';
  };
  const writes = browsers.reduce((total, { seen }) => total + seen.writes, 0);
  const reads = sum(browsers.map(({ seen }) => seen.reads));
  return `${writes} writes; reads: ${reads}; errors: ${sum(browsers.map(({ seen }) => seen.errors))}`;
}
