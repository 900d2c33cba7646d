import { Lexer, type LineCounter, Parser } from 'yaml';

/** Collections in each other, keys and values counted apart; the deepest configuration needs fewer than ten. */
const MAX_NESTING = 64;

/**
 * Where a YAML text nests more deeply than any configuration; -1 if nowhere. To be asked before it is parsed: the parser
 * calls itself for each level, and a file of a few thousand brackets ends the process. `lines` learns where lines begin.
 */
export function nestingTooDeep(text: string, lines: LineCounter): number {
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    if (parser.stack.length > MAX_NESTING) return parser.offset;
  }
  return -1;
}
