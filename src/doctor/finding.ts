/** What the doctor found out about one thing. */
export interface Finding {
  /** `warn`: it works, but slower or less safely than it could; `fail`: Sluice does not work here. */
  readonly result: 'ok' | 'warn' | 'fail';
  /** E.g. `kernel`, `disk`. */
  readonly subject: string;
  readonly message: string;
  /** What to change; empty where all is well. */
  readonly hint: string;
}

export function ok(subject: string, message: string): Finding {
  return { result: 'ok', subject, message, hint: '' };
}

export function warn(subject: string, message: string, hint: string): Finding {
  return { result: 'warn', subject, message, hint };
}

export function fail(subject: string, message: string, hint: string): Finding {
  return { result: 'fail', subject, message, hint };
}
