import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Suite } from './campaign.js';
import { runLimited } from './limited-run.js';
import { installed, type Staged } from './staged.js';
import { asNobody } from './unprivileged.js';

/** fsx: random reads and writes, also mapped, of one file, each read compared with what was written. */

const OPERATIONS = 20_000;
const SEEDS = [1, 2, 3];
const COMMON = ['close_open = 1', 'read = 10', 'write = 10', 'mapread = 10', 'mapwrite = 10', 'invalidate = 1'];
const KINDS = {
  common: [...COMMON, 'truncate = 2', 'fsync = 1', 'fdatasync = 1'],
  more: [...COMMON, 'truncate = 2', 'posix_fallocate = 2', 'sendfile = 5', 'posix_fadvise = 2', 'copy_file_range = 5'],
};

export function fsx(staged: Staged, limitMs: number): Suite | string {
  const tool = installed('fsx-0.2.0');
  if (tool === undefined) return 'fsx is not installed';
  const program = join(staged.copy(tool), 'bin', 'fsx');
  const tests = Object.entries(KINDS).flatMap(([kind, weights]) => {
    const config = join(staged.root, `fsx-${kind}.toml`);
    writeFileSync(config, `[weights]\n${weights.join('\n')}\n`);
    return SEEDS.map((seed) => {
      const name = `${kind} operations, seed ${seed}`;
      const options = ['-q', '-f', config, '-N', `${OPERATIONS}`, '-S', `${seed}`];
      return {
        name,
        run: async (folder: string) => {
          const command = asNobody([program, ...options, '-P', staged.helperFolder(), join(folder, 'file.db')]);
          const run = await runLimited(command, { cwd: folder, logFile: staged.logFile(name), limitMs });
          const lines = run.output.trimEnd().split('\n');
          const wrong = run.end !== 'exit' ? run.end : run.code !== 0 ? lines.at(-1) : undefined;
          return { cases: 1, failed: [], seconds: run.seconds, ...(wrong === undefined ? {} : { problem: wrong }) };
        },
      };
    });
  });
  return { name: 'fsx', tests };
}
