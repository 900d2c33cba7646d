import { SluiceError } from '../errors.js';

/** One thing that is wrong in a config file. Line and column start at 1; 0 where there is no place to point at. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Dotted, e.g. `replication.retain.age` or `backup[1].url`; empty for the file as a whole. */
  readonly key: string;
  readonly message: string;
}

/** `sluice.yml:4:3: http.lisen: unknown key; did you mean listen?` */
export function formatProblem(problem: ConfigProblem): string {
  const place = problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
  return `${place}: ${problem.key === '' ? '' : `${problem.key}: `}${problem.message}`;
}

/** A config file that cannot be used; `problems` has all of it, the message the first one. */
export class ConfigError extends SluiceError {
  override readonly name = 'ConfigError';

  constructor(readonly problems: readonly ConfigProblem[]) {
    const more = problems.length - 1;
    super('CONFIG_INVALID', formatProblem(problems[0]!), more === 0 ? '' : `See sluice config check for ${more} more`);
  }
}
