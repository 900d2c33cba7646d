import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStore, type Store } from '../src/backup/index.js';
import { type Gateway, startGateway } from '../test/support/gateway.js';
import { fillStores } from './restore-store.js';
import { median, megabytes, ratio, table } from './stats.js';

const SLUICE = fileURLToPath(new URL('../cmd/sluice.js', import.meta.url));
const INCREMENTS = 500;
const MEMORY_LOOK_MS = 20;

interface Contender {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly seconds: number[];
  peakBytes: number;
}

/**
 * Restore of databases of some sizes after 500 incremental files, from a folder and from an S3 server on loopback: Sluice,
 * Litestream where it is given, and a plain copy. Whole processes, in turn.
 */
export async function benchRestore(root: string, sizesMegabytes: readonly number[], rounds: number): Promise<string> {
  const rows: string[][] = [];
  for (const size of sizesMegabytes) {
    const folder = join(root, `restore-${size}`);
    mkdirSync(folder);
    const gateway = await startGateway(folder);
    try {
      rows.push(...(await measureSize(folder, size, rounds, gateway)));
    } finally {
      await gateway?.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return [
    `Restore after ${INCREMENTS} incremental files (each of every 5003rd row, a page each), whole process with its last fsync, median of ${rounds} runs in turn. cp copies the bare file and checks nothing.`,
    '',
    table(['', 'time', 'against Litestream', 'peak memory'], rows),
  ].join('\n');
}

async function measureSize(folder: string, size: number, rounds: number, gateway?: Gateway): Promise<string[][]> {
  const places = [`file://${join(folder, 'store', 'app.db')}`];
  if (gateway !== undefined)
    places.push(`s3://${gateway.bucket}/app.db?endpoint=${gateway.endpoint}&region=us-east-1&force-path-style=true`);
  const roots = places.map((url) => openStore(url, gateway === undefined ? {} : { credentials: gateway.credentials }));
  const stores: Store[] = roots.map((place) => place.database(''));
  const source = await fillStores(folder, stores, size, INCREMENTS);
  for (const place of roots) place.close();
  const rows: string[][] = [];
  for (const url of places) {
    const output = join(folder, 'restored.db');
    const contenders = contendersFor(url, source, output);
    for (let round = 0; round < rounds; round++) {
      for (const contender of contenders) await runOnce(contender, output, gateway?.env ?? {});
    }
    const base = contenders.find(({ name }) => name === 'Litestream')?.seconds;
    for (const { name, seconds, peakBytes } of contenders) {
      const against = base === undefined ? '' : ratio(median(seconds.map((value, i) => value / base[i]!)));
      const what = `${size} MB, ${url.startsWith('file') ? 'folder' : 'versitygw'}: ${name}`;
      rows.push([what, `${median(seconds).toFixed(2)} s`, against, megabytes(peakBytes)]);
    }
  }
  return rows;
}

function contendersFor(url: string, source: string, output: string): Contender[] {
  const contender = (name: string, command: string, args: readonly string[]): Contender => {
    return { name, command, args, seconds: [], peakBytes: 0 };
  };
  const found = [contender('Sluice', process.execPath, [SLUICE, 'restore', '-o', output, url])];
  if (url.startsWith('file')) found.unshift(contender('cp', 'cp', [source, output]));
  const litestream = process.env.LITESTREAM_BIN;
  if (litestream !== undefined) found.push(contender('Litestream', litestream, ['restore', '-o', output, url]));
  return found;
}

async function runOnce(contender: Contender, output: string, env: object): Promise<void> {
  for (const suffix of ['', '-wal', '-shm']) rmSync(output + suffix, { force: true });
  const start = process.hrtime.bigint();
  // This machine's own AWS settings are not the measurement's.
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')));
  const child = spawn(contender.command, contender.args, { env: { ...own, ...env }, stdio: 'pipe' });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-2000);
    });
  }
  const look = setInterval(() => {
    contender.peakBytes = Math.max(contender.peakBytes, peakMemory(child.pid));
  }, MEMORY_LOOK_MS);
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearInterval(look);
  const took = Number(process.hrtime.bigint() - start) / 1e9;
  if (code !== 0 || !existsSync(output)) throw new Error(`${contender.name}: ${said}`);
  contender.seconds.push(took);
  process.stderr.write(`  restore, ${contender.name}: ${took.toFixed(2)} s, ${megabytes(contender.peakBytes)}\n`);
}

/** The most that a process had resident so far; 0 when it has ended. */
function peakMemory(pid: number | undefined): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return 1024 * Number(match?.[1] ?? 0);
  } catch {
    return 0;
  }
}
