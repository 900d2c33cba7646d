import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type KeeperOptions, readKeeperState, type UpgradeState } from '../../src/keeper/index.js';

const PROGRAM = fileURLToPath(new URL('./keeper-program.js', import.meta.url));
const LIMIT_MS = 40_000;
const POLL_MS = 20;

/** A keeper with a fake node in a folder of its own. */
export class KeeperFixture {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-keeper-'));
  readonly mount = join(this.folder, 'data/mnt');
  readonly journal = join(this.folder, 'journal');
  /** See fake-node.ts. */
  readonly once = join(this.folder, 'once');
  /** Limits of the keeper other than its own. */
  limits: KeeperOptions['limits'];
  stderr = '';
  stdout = '';
  readonly #children: ChildProcess[] = [];

  constructor(config = 'http: { listen: "off" }\nreplication: { listen: "off" }\nlog: { level: silent }\n') {
    writeFileSync(join(this.folder, 'sluice.yml'), config);
    writeFileSync(this.journal, '');
  }

  /** Starts the keeper; resolves with its exit code when it ends. */
  start(behaviour = '', command: readonly string[] = []): { child: ChildProcess; ended: Promise<number | string> } {
    const child = spawn(process.execPath, [PROGRAM, join(this.folder, 'sluice.yml'), ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        FAKE_NODE: behaviour,
        FAKE_JOURNAL: this.journal,
        FAKE_ONCE: this.once,
        KEEPER_LIMITS: JSON.stringify(this.limits ?? {}),
        SLUICE_DEBUG: '',
      },
    });
    this.#children.push(child);
    child.stderr?.setEncoding('utf8').on('data', (chunk) => {
      this.stderr += chunk;
    });
    child.stdout?.setEncoding('utf8').on('data', (chunk) => {
      this.stdout += chunk;
    });
    const ended = new Promise<number | string>((resolve) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        resolve('too late');
      }, LIMIT_MS);
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        resolve(code ?? signal ?? 'unknown');
      });
    });
    return { child, ended };
  }

  /** What the nodes wrote down. */
  notes(): string[] {
    return readFileSync(this.journal, 'utf8').split('\n').slice(0, -1);
  }

  /** What the keeper says of its last upgrade. */
  upgrade(): UpgradeState | undefined {
    return readKeeperState(join(this.folder, 'data'))?.upgrade ?? undefined;
  }

  /** The process id of the last node. */
  nodePid(): number {
    const line = this.notes().findLast((note) => note.startsWith('start '));
    return Number(line?.split(' ')[1]);
  }

  isMounted(): boolean {
    return readFileSync('/proc/self/mounts', 'utf8').includes(` ${this.mount} fuse`);
  }

  /** Waits, half a minute at most, until something holds. */
  async until(what: string, holds: () => boolean): Promise<void> {
    const untilMs = performance.now() + LIMIT_MS;
    while (!holds()) {
      if (performance.now() > untilMs) throw new Error(`waited too long for: ${what}\n${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  ready(): Promise<void> {
    return this.until('ready', () => this.notes().includes('ready'));
  }

  remove(): void {
    for (const child of this.#children) if (child.exitCode === null) child.kill('SIGKILL');
    const pid = this.nodePid();
    if (Number.isInteger(pid) && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
    if (this.isMounted()) spawnSync('umount', ['-l', this.mount]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
