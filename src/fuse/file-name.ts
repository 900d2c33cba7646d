import { isUtf8 } from 'node:buffer';

/** A path as `fs` calls take it: bytes where no string would be written out as them. */
export type DiskPath = string | Buffer;

/** The byte b of a name that is not UTF-8 is this + b, a lone surrogate, in its string (as Python's surrogateescape). */
const ESCAPE = 0xdc00;
const MAX_UTF8_BYTES = 4;

const REPLACEMENT = '\ufffd';

/** The string for the bytes of a name, whatever they are; `bytesOf` gives them back. */
export function nameOf(source: Buffer, start = 0, end = source.length): string {
  const text = source.toString('utf8', start, end);
  return text.includes(REPLACEMENT) ? escapedName(source.subarray(start, end)) : text;
}

function escapedName(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let name = '';
  for (let at = 0; at < bytes.length; ) {
    const length = characterAt(bytes, at);
    name += length === 0 ? String.fromCharCode(ESCAPE + bytes[at]!) : bytes.toString('utf8', at, at + length);
    at += Math.max(1, length);
  }
  return name;
}

/** The bytes of a name or path. */
export function bytesOf(name: string): Buffer {
  if (isUnicode(name)) return Buffer.from(name);
  const parts: Buffer[] = [];
  for (const character of name) {
    const code = character.codePointAt(0)!;
    parts.push(isSurrogate(code) ? Buffer.of(code - ESCAPE) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

/** For `fs` calls. */
export const onDisk = (path: string): DiskPath => (isUnicode(path) ? path : bytesOf(path));

/** Whether the bytes of a name are UTF-8, so that its string says them to anybody. */
export const isUnicode = (name: string): boolean => !/\p{Surrogate}/u.test(name);

/** Bytes of the character there; 0 if there is none. */
function characterAt(bytes: Buffer, at: number): number {
  for (let length = 1; length <= MAX_UTF8_BYTES && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}

const isSurrogate = (code: number): boolean => code >= 0xd800 && code <= 0xdfff;
