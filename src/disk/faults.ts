import { appendFileSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';

/** A sync that is skipped says that it was done. */
export type Fault = 'none' | 'skip';

interface Rule {
  readonly text: string;
  readonly label: string;
  readonly thread: string | undefined;
  readonly error: string;
  /** The only call that fails; undefined: all. */
  readonly nth: number | undefined;
}

/**
 * Faults at labelled calls, as a control file says, which is read at each call: without it there are none. A line is
 *
 *     <label>[@<thread>] ENOSPC|EIO|EMFILE|SKIP [n]
 *
 * and holds for every call, or for the n-th of a thread since the line is there. Of SKIP, which is for syncs: the call
 * returns, and nothing was done. A line for each fault that was injected goes to `<control file>.hits`.
 */
export class Faults {
  readonly #control: string;
  readonly #thread: string;
  readonly #calls = new Map<string, number>();
  #text = '';
  #rules: readonly Rule[] = [];

  constructor(control: string, thread: string) {
    this.#control = control;
    this.#thread = thread;
  }

  /** Throws the system error that a rule wants for this call. */
  check(label: string, call: string, path: string): Fault {
    for (const rule of this.#read()) {
      if (rule.label !== label || (rule.thread !== undefined && rule.thread !== this.#thread)) continue;
      const calls = (this.#calls.get(rule.text) ?? 0) + 1;
      this.#calls.set(rule.text, calls);
      if (rule.nth !== undefined && rule.nth !== calls) continue;
      appendFileSync(`${this.#control}.hits`, `${label}@${this.#thread} ${rule.error} ${path}\n`);
      if (rule.error === 'SKIP') return 'skip';
      throw systemError(rule.error, call, path);
    }
    return 'none';
  }

  #read(): readonly Rule[] {
    const text = textOf(this.#control);
    if (text === this.#text) return this.#rules;
    this.#text = text;
    this.#calls.clear();
    this.#rules = text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map(parseRule);
    return this.#rules;
  }
}

function parseRule(text: string): Rule {
  const [where, error, nth] = text.trim().split(/\s+/);
  const [label, thread] = where!.split('@');
  return { text, label: label!, thread, error: error ?? 'EIO', nth: nth === undefined ? undefined : Number(nth) };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function systemError(code: string, syscall: string, path: string): NodeJS.ErrnoException {
  const number = constants.errno[code as keyof typeof constants.errno];
  const error: NodeJS.ErrnoException = new Error(`${code}: injected, ${syscall} '${path}'`);
  return Object.assign(error, { code, errno: -number, syscall, path });
}
