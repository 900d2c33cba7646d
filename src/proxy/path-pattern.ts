/**
 * Globs on the path of a request: `*` stands for any characters, also `/`; all else for itself. `/api/*`, `*.css`. They are
 * compared with the path as applications read it: without the query, percent-decoded, `.` and `..` resolved.
 */
export class PathPatterns {
  readonly #patterns: readonly (readonly string[])[];

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => pattern.split('*'));
  }

  get isEmpty(): boolean {
    return this.#patterns.length === 0;
  }

  matches(path: string): boolean {
    return this.#patterns.some((parts) => matchesParts(parts, path));
  }
}

/** Each part at its first place after the one before: linear, whatever the pattern. */
function matchesParts(parts: readonly string[], path: string): boolean {
  const first = parts[0]!;
  if (parts.length === 1) return path === first;
  const last = parts[parts.length - 1]!;
  if (path.length < first.length + last.length || !path.startsWith(first) || !path.endsWith(last)) return false;
  let at = first.length;
  const end = path.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = path.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** The path of a request's target (`/a/b?c`, or `http://host/a/b`) for patterns. */
export function pathOf(target: string): string {
  const raw = target.startsWith('/') ? target.replace(/[?#].*$/s, '') : pathOfUrl(target);
  if (!/[%.]|\/\//.test(raw)) return raw;
  const parts: string[] = [];
  const segments = decode(raw).split('/').slice(1);
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    if (segment === '..') parts.pop();
    else if (segment !== '.' && (segment !== '' || isLast)) parts.push(segment);
    if (isLast && (segment === '.' || segment === '..')) parts.push('');
  });
  return `/${parts.join('/')}`;
}

function pathOfUrl(target: string): string {
  return URL.canParse(target) ? new URL(target).pathname : '/';
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
