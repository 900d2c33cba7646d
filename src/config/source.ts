import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';
import { describeError } from '../errors.js';
import { expandVariables, MissingVariable } from './expand.js';
import { nestingTooDeep } from './nesting.js';
import type { ConfigProblem } from './problem.js';

export type KeyPath = readonly (string | number)[];

/** Where a store's address stands: a single one has no number. */
export function storeKey(config: { readonly backup: readonly unknown[] }, index: number): KeyPath {
  return config.backup.length === 1 ? ['backup', 'url'] : ['backup', index, 'url'];
}

/** A parsed YAML file that knows where each of its values stands. */
export class ConfigSource {
  readonly problems: ConfigProblem[] = [];
  #lines = new LineCounter();
  readonly #document: Document.Parsed;
  #value: unknown;

  constructor(
    /** As it is shown in messages. */
    readonly file: string,
    text: string,
    env: Readonly<Record<string, string | undefined>>,
  ) {
    const tooDeep = nestingTooDeep(text, this.#lines);
    if (tooDeep >= 0) {
      this.#report(tooDeep, '', 'not valid YAML here: nested too deeply');
      this.#document = parseDocument('');
      return;
    }
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, logLevel: 'error' });
    for (const error of this.#document.errors) {
      this.#report(error.pos[0], '', `not valid YAML: ${error.message.replace(/\s+/g, ' ')}`);
    }
    if (this.problems.length === 0) this.#expand(env);
    if (this.problems.length === 0) this.#value = this.#plainValue();
  }

  /** The file as plain values, variables expanded. */
  value(): unknown {
    return this.#value ?? {};
  }

  /** The plain value at a path; undefined when there is none. */
  at(path: KeyPath): unknown {
    const node = this.#find(path);
    return node === undefined ? undefined : isScalar(node) ? node.value : node.toJS(this.#document);
  }

  /** Notes what is wrong with the value at a path, or with the nearest thing around it that is in the file. */
  reportValue(path: KeyPath, message: string): void {
    let length = path.length;
    let node = this.#find(path);
    while (node === undefined && length > 0) node = this.#find(path.slice(0, --length));
    this.#report(node?.range?.[0] ?? 0, formatKey(path), message);
  }

  /** Notes what is wrong with a key itself. */
  reportKey(path: KeyPath, message: string): void {
    const parent = this.#find(path.slice(0, -1));
    const name = path[path.length - 1];
    const pair = isMap(parent) ? parent.items.find((item) => isScalar(item.key) && item.key.value === name) : undefined;
    const range = isScalar(pair?.key) ? pair.key.range : undefined;
    this.#report(range?.[0] ?? 0, formatKey(path), message);
  }

  /** The parser refuses here what aliases would make too large. */
  #plainValue(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      this.#report(0, '', `not valid YAML: ${describeError(error)}`);
      return undefined;
    }
  }

  #expand(env: Readonly<Record<string, string | undefined>>): void {
    visit(this.#document, {
      Scalar: (position, node) => {
        if (position === 'key' || typeof node.value !== 'string') return;
        try {
          node.value = expandVariables(node.value, env);
        } catch (error) {
          const reason =
            error instanceof MissingVariable
              ? `the environment has no ${error.variable}; set it, or write \${${error.variable}:-default}`
              : `${error instanceof Error ? error.message : error} is no variable; write \${NAME}, \${NAME:-default}, or $$ for a $`;
          this.#report(node.range?.[0] ?? 0, '', reason);
        }
      },
    });
  }

  /** The node at a path. A single store stands for a list of one, and a text for a section with its first key. */
  #find(path: KeyPath): Node | undefined {
    let node: unknown = this.#document.contents;
    for (const key of path) {
      if (typeof key === 'number' && !isSeq(node)) continue;
      if (!isMap(node) && !isSeq(node)) return undefined;
      node = node.get(key, true);
    }
    return node === null || node === undefined ? undefined : (node as Node);
  }

  #report(offset: number, key: string, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.problems.push({ file: this.file, line: Math.max(line, 1), column: Math.max(col, 1), key, message });
  }
}

function formatKey(path: KeyPath): string {
  return path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? key : `${text}.${key}`),
    '',
  );
}
