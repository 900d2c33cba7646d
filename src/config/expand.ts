/** What a text needs that the environment does not have. */
export class MissingVariable extends Error {
  constructor(readonly variable: string) {
    super(variable);
  }
}

const REFERENCE = /\$\$|\$\{([^}]*)\}/g;
const BODY = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;

/**
 * Replaces `${VAR}` and `${VAR:-default}` (used when VAR is unset or empty) by the environment's values; `$$` is one `$`.
 * Throws MissingVariable for a variable that has neither, and RangeError for a reference that is not one of these.
 */
export function expandVariables(text: string, env: Readonly<Record<string, string | undefined>>): string {
  return text.replace(REFERENCE, (reference, body: string | undefined) => {
    if (body === undefined) return '$';
    const match = BODY.exec(body);
    if (match === null) throw new RangeError(reference);
    const value = Object.hasOwn(env, match[1]!) ? env[match[1]!] : undefined;
    if (value !== undefined && (value !== '' || match[2] === undefined)) return value;
    if (match[2] === undefined) throw new MissingVariable(match[1]!);
    return match[2];
  });
}
