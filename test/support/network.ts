import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { waitFor } from './cluster.js';

/**
 * Machines that can be cut off from each other: network namespaces joined to the one of this process, which has to be one
 * of its own too (`inOwnNetwork`). They are gone with their processes; nothing of the machine's own network is touched.
 */

/** RFC 2544's range for such benches. */
const PREFIX = '198.18';
/** Nobody has it: what is sent there is lost without a word, as on a line that is cut. */
const NOWHERE = '02:00:00:00:00:fe';
/** Names the network that was made, to what runs in it. */
const NETWORK = 'SLUICE_TEST_NETWORK';
const COMMAND_LIMIT_MS = 10_000;

export const CUTS = ['both ways', 'to it', 'from it'] as const;
/** Which way a machine is cut off. */
export type Cut = (typeof CUTS)[number];

/** Whether this process's network is one that was made for it. */
export function isInOwnNetwork(): boolean {
  return process.env[NETWORK] === readlinkSync('/proc/self/ns/net');
}

/** The command that runs another one in a new network, with nothing but loopback in it. */
export function inOwnNetwork(command: readonly string[]): string[] {
  const script = `ip link set lo up && ${NETWORK}=$(readlink /proc/self/ns/net) exec "$@"`;
  return ['unshare', '--net', '--', 'sh', '-c', script, 'sh', ...command];
}

/** Whether this machine lets this user have such networks. */
export function canHaveNetworks(): boolean {
  const [program = '', ...args] = inOwnNetwork(['true']);
  return spawnSync(program, args, { stdio: 'ignore', timeout: COMMAND_LIMIT_MS }).status === 0;
}

/**
 * A machine with two lines to this process's network: one to be cut, and one by which tests look at it.
 */
export class Machine {
  readonly #holder: ChildProcess;
  readonly #line: string;
  /** This process's address on the line that can be cut. */
  readonly here: string;
  /** The machine's address on the line by which tests look at it. */
  readonly address: string;
  readonly #there: string;

  private constructor(number: number, holder: ChildProcess) {
    this.#holder = holder;
    this.#line = `line${number}`;
    this.here = `${PREFIX}.${number}.1`;
    this.#there = `${PREFIX}.${number}.2`;
    this.address = `${PREFIX}.${100 + number}.2`;
  }

  /** `number`, 1 to 99: which one. */
  static async start(number: number): Promise<Machine> {
    if (!isInOwnNetwork()) throw new Error('this process is in the network of the machine');
    // It ends with this process, however that ends.
    const [program = '', ...args] = inOwnNetwork(['sh', '-c', 'echo up; exec cat']);
    const holder = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    let isUp = false;
    holder.stdout.once('data', () => {
      isUp = true;
    });
    await waitFor(() => isUp, COMMAND_LIMIT_MS, 'a network');
    const machine = new Machine(number, holder);
    machine.#join(machine.#line, machine.here, machine.#there);
    machine.#join(`look${number}`, `${PREFIX}.${100 + number}.1`, machine.address);
    return machine;
  }

  /** A command that is run on it: all but its network is as here. */
  within(command: readonly string[]): string[] {
    return ['nsenter', `--net=/proc/${this.#holder.pid}/ns/net`, '--', ...command];
  }

  /** From now on what is sent is lost, silently. */
  cut(way: Cut): void {
    this.heal();
    if (way !== 'from it') run(neighbour(this.#line, this.#there, NOWHERE));
    if (way !== 'to it') run(this.within(neighbour(this.#far, this.here, NOWHERE)));
  }

  heal(): void {
    run(neighbour(this.#line, this.#there, this.#macs().there));
    run(this.within(neighbour(this.#far, this.here, this.#macs().here)));
  }

  stop(): void {
    this.#holder.kill('SIGKILL');
  }

  get #far(): string {
    return `${this.#line}p`;
  }

  #macs(): { readonly here: string; readonly there: string } {
    const number = Number(this.#line.slice('line'.length));
    const last = number.toString(16).padStart(2, '0');
    return { here: `02:00:00:00:01:${last}`, there: `02:00:00:00:02:${last}` };
  }

  #join(line: string, here: string, there: string): void {
    const far = `${line}p`;
    const macs = this.#macs();
    const isCuttable = line === this.#line;
    const mac = (address: string) => (isCuttable ? ['address', address] : []);
    const pid = `${this.#holder.pid}`;
    run([
      'ip',
      'link',
      'add',
      line,
      ...mac(macs.here),
      'type',
      'veth',
      'peer',
      'name',
      far,
      ...mac(macs.there),
      'netns',
      pid,
    ]);
    run(['ip', 'address', 'add', `${here}/24`, 'dev', line]);
    run(['ip', 'link', 'set', line, 'up']);
    run(this.within(['ip', 'address', 'add', `${there}/24`, 'dev', far]));
    run(this.within(['ip', 'link', 'set', far, 'up']));
  }
}

function neighbour(line: string, peer: string, mac: string): string[] {
  return ['ip', 'neighbour', 'replace', peer, 'lladdr', mac, 'dev', line, 'nud', 'permanent'];
}

function run(command: readonly string[]): void {
  const [program = '', ...args] = command;
  const ran = spawnSync(program, args, { encoding: 'utf8', timeout: COMMAND_LIMIT_MS });
  if (ran.status === 0) return;
  throw new Error(`${command.join(' ')}: ${ran.error?.message ?? ran.stderr.trim()}`);
}
