import { fileURLToPath } from 'node:url';
import { run } from '../e2e/programs.js';
import { DIFFERENCES } from './differences.js';

const PROGRAM = fileURLToPath(new URL('../../../test/fidelity/fs-cases.py', import.meta.url));

/** What calls gave in a folder, by what was done. */
export type Calls = ReadonlyMap<string, string>;

/** Each call on each kind of file in that folder, which is open to all; or only one of `step` of them. */
export async function callsIn(folder: string, step: number, limitMs: number): Promise<Calls> {
  const printed = await run('python3', [PROGRAM, folder, `${step}`], { limitMs, cwd: '/' });
  return new Map(printed.trimEnd().split('\n').map(parts));
}

function parts(line: string): [string, string] {
  const at = line.indexOf(': ');
  return [line.slice(0, at), line.slice(at + 2)];
}

/** What differs and is not listed, a line or more each; `met` gets the listed differences that were found. */
export function unlisted(wanted: Calls, got: Calls, met: Set<RegExp>): string[] {
  const lines: string[] = [];
  for (const what of new Set([...wanted.keys(), ...got.keys()])) {
    if (wanted.get(what) === got.get(what)) continue;
    const listed = DIFFERENCES.find(({ where }) => where.test(what));
    if (listed === undefined) lines.push(`${what}\n  ext4:  ${wanted.get(what)}\n  mount: ${got.get(what)}`);
    else met.add(listed.where);
  }
  return lines;
}
