import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { requireTool } from '../../tools.js';
import { ACCOUNTS, BALANCE, type Operation } from './operations.js';

/** What the judge of checker/ says. */
export interface Verdict {
  readonly ok: boolean;
  readonly model: 'register' | 'bank';
  readonly operations: number;
  readonly partitions: number;
  /** Unknown outcomes that others saw, and that nobody saw. */
  readonly happened: number;
  readonly unseen: number;
  /** Where no order was found, and the first operation that has no place in one. */
  readonly partition?: string;
  readonly stuck?: string;
  readonly violations?: readonly string[];
  /** Why it cannot be judged. */
  readonly error?: string;
}

const JUDGE_LIMIT_S = 120;

/** Whether the judge is installed; says so if it is not. */
export const hasJudge = (): boolean => requireTool('linear-checker') !== undefined;

/** Judges a history by one model; the operations of the other may be in it. Writes files into `folder`. */
export function judgeLinear(model: Verdict['model'], history: readonly Operation[], folder: string): Verdict {
  const path = join(folder, `${model}.jsonl`);
  writeFileSync(path, history.map((operation) => `${JSON.stringify(operation)}\n`).join(''));
  return judgeFile(model, path, join(folder, `${model}.html`));
}

/** `drawing`: an HTML file that is written if the history is not linearizable. */
export function judgeFile(model: Verdict['model'], path: string, drawing?: string): Verdict {
  const program = requireTool('linear-checker');
  if (program === undefined) throw new Error('linear-checker is not installed: run node scripts/tools.mjs');
  const options = [
    '-model',
    model,
    '-accounts',
    `${ACCOUNTS}`,
    '-balance',
    `${BALANCE}`,
    '-limit',
    `${JUDGE_LIMIT_S}s`,
  ];
  const draw = drawing === undefined ? [] : ['-draw', drawing];
  const ran = spawnSync(program, [...options, ...draw, path], {
    encoding: 'utf8',
    timeout: 2 * JUDGE_LIMIT_S * 1000,
  });
  const verdict = ran.status === null ? undefined : parse(ran.stdout);
  const code = verdict?.ok === true ? 0 : verdict?.error === undefined ? 1 : 2;
  if (verdict === undefined || ran.status !== code)
    throw new Error(`linear-checker ended with ${ran.status ?? ran.signal}: ${ran.stdout}${ran.stderr}`);
  return verdict;
}

/** What speaks against a history. Empty: it is linearizable. */
export function complaints(verdict: Verdict): string[] {
  const { model, partition, stuck, violations = [], error } = verdict;
  return [
    ...(error === undefined ? [] : [`${model}: ${error}`]),
    ...(partition === undefined ? [] : [`${model}, ${partition}: there is no order; without a place: ${stuck}`]),
    ...violations.map((text) => `${model}: ${text}`),
  ];
}

function parse(text: string): Verdict | undefined {
  try {
    return JSON.parse(text) as Verdict;
  } catch {
    return undefined;
  }
}
