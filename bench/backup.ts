import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { startNode } from './places.js';
import { client, pause } from './processes.js';
import { median, megabytes, ratio, table } from './stats.js';

const SLUICE = fileURLToPath(new URL('../cmd/sluice.js', import.meta.url));
const COMPACTOR = fileURLToPath(new URL('./compactor.js', import.meta.url));
const COMMITTER = fileURLToPath(new URL('./committer.js', import.meta.url));
const COMPACTION_LIMIT_MS = 30 * 60_000;

/** What commits cost with a backup to a folder, beside the same node without one. */
export async function benchBackupCost(root: string, count: number, rounds: number): Promise<string> {
  const backup = join(root, 'cost-store');
  mkdirSync(backup, { recursive: true });
  const without = await startNode(root, 'cost-without');
  const beside = await startNode(root, 'cost-with', { backup });
  try {
    const rows: string[][] = [];
    for (const [journal, synchronous] of [
      ['wal', 'normal'],
      ['wal', 'full'],
    ] as const) {
      const ratios: number[] = [];
      for (let round = 0; round <= rounds; round++) {
        const mean: number[] = [];
        // In turn, each first as often as the other.
        const places = round % 2 === 0 ? [without, beside] : [beside, without];
        for (const { mount } of places) {
          const { commit } = await client<{ commit: { meanUs: number } }>(
            'commits',
            mount,
            journal,
            synchronous,
            count,
          );
          mean.push(commit.meanUs);
        }
        const [off, on] = round % 2 === 0 ? mean : mean.reverse();
        if (round > 0) ratios.push(on! / off!);
        process.stderr.write(
          `  ${journal}/${synchronous} round ${round}: ${off!.toFixed(0)} µs, with a backup ${on!.toFixed(0)} µs\n`,
        );
      }
      const label = `WAL, synchronous=${synchronous.toUpperCase()}`;
      rows.push([label, ratio(median(ratios)), ratios.map((value) => value.toFixed(2)).join(', ')]);
    }
    return [
      `Single-row commits, ${count} a run, with a backup to a folder against without one; median of the ratios of ${rounds} rounds.`,
      '',
      table(['', 'with a backup', 'each round'], rows),
    ].join('\n');
  } finally {
    await beside.server.stop();
    await without.server.stop();
  }
}

/** Milliseconds of commits that are in no store when the machine goes: everything is killed, its disk is gone. */
export async function benchLoss(root: string, runs: number): Promise<string> {
  const lost: number[] = [];
  for (let run = 0; run < runs; run++) {
    const folder = join(root, `loss-${run}`);
    const backup = join(folder, 'store');
    mkdirSync(backup, { recursive: true });
    const node = await startNode(folder, 'node', { backup });
    const writer = spawn(process.execPath, [COMMITTER, join(node.mount, 'app.db')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let newestMs = 0;
    writer.stdout.setEncoding('utf8').on('data', (text: string) => {
      newestMs = Number(text.trim().split('\n').at(-1));
    });
    await pause(2500 + Math.random() * 2000);
    node.server.kill();
    writer.kill('SIGKILL');
    await pause(50);
    const output = join(folder, 'restored.db');
    execFileSync(process.execPath, [SLUICE, 'restore', '-o', output, `file://${backup}/app.db`], { stdio: 'pipe' });
    const db = new Sqlite(output, { readonly: true });
    const restoredMs = db.prepare('select max(ms) from t').pluck().get() as number;
    const intact = db.pragma('integrity_check', { simple: true }) === 'ok';
    db.close();
    if (!intact) throw new Error(`run ${run}: the restored database is damaged`);
    lost.push(Math.max(0, newestMs - restoredMs));
    process.stderr.write(`  run ${run}: ${lost.at(-1)} ms\n`);
    rmSync(folder, { recursive: true, force: true });
  }
  lost.sort((a, b) => a - b);
  const row = [median(lost), lost[Math.floor(0.9 * lost.length)]!, lost.at(-1)!].map((ms) => `${ms.toFixed(0)} ms`);
  return [
    `A program commits all the time; node and program are killed with kill -9 and the data folder is thrown away; what is restored from the store lacks the commits of the last so many milliseconds. Default settings, ${runs} runs.`,
    '',
    table(['median', '90 %', 'largest'], [row]),
  ].join('\n');
}

/** Peak memory of a process that merges files of a database of one size or another. */
export async function benchCompaction(root: string, sizesMegabytes: readonly number[]): Promise<string> {
  const rows: string[][] = [];
  for (const size of sizesMegabytes) {
    const folder = join(root, `compaction-${size}`);
    mkdirSync(folder, { recursive: true });
    const options = { timeout: COMPACTION_LIMIT_MS, encoding: 'utf8' } as const;
    const made = JSON.parse(execFileSync(process.execPath, [COMPACTOR, 'make', folder, String(size)], options)) as {
      bytes: number;
    };
    const ran = JSON.parse(execFileSync(process.execPath, [COMPACTOR, 'run', folder], options)) as {
      peakBytes: number;
      seconds: number;
      bytes: number;
    };
    rows.push([
      `${size} MB`,
      megabytes(made.bytes),
      megabytes(ran.bytes),
      `${ran.seconds.toFixed(1)} s`,
      megabytes(ran.peakBytes),
    ]);
    process.stderr.write(`  compaction of ${size} MB: ${megabytes(ran.peakBytes)}\n`);
    rmSync(folder, { recursive: true, force: true });
  }
  return [
    'Eight files that together hold every page of a database are merged into one, in a folder, by a process that does nothing else.',
    '',
    table(['database', 'files', 'merged', 'time', 'peak memory'], rows),
  ].join('\n');
}
