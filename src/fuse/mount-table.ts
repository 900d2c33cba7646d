import { readFileSync } from 'node:fs';

/** One line of /proc/self/mountinfo, as far as it is needed here. */
export interface MountEntry {
  readonly path: string;
  /** `fuse`, `ext4`, ... */
  readonly type: string;
  readonly source: string;
  /** The kernel's number of a FUSE connection, which is the minor device number. */
  readonly connection: number;
}

/**
 * The topmost mount exactly at `path` (absolute, without links), or undefined. Reads a table and never the mount
 * itself, so it cannot hang in one that is dead.
 */
export function mountAt(
  path: string,
  table: string = readFileSync('/proc/self/mountinfo', 'utf8'),
): MountEntry | undefined {
  let found: MountEntry | undefined;
  for (const line of table.split('\n')) {
    const entry = parseMount(line);
    if (entry?.path === path) found = entry;
  }
  return found;
}

/** `36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/root rw`; spaces in paths are octal escapes. */
function parseMount(line: string): MountEntry | undefined {
  const [left, right] = line.split(' - ');
  if (left === undefined || right === undefined) return undefined;
  const fields = left.split(' ');
  const [type, source] = right.split(' ');
  const [, , device, , path] = fields;
  if (device === undefined || path === undefined || type === undefined || source === undefined) return undefined;
  return { path: unescapeOctal(path), type, source: unescapeOctal(source), connection: Number(device.split(':')[1]) };
}

function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  const bytes: number[] = [];
  const source = Buffer.from(text);
  for (let i = 0; i < source.length; i++) {
    const octal = source[i] === 0x5c ? /^\\([0-7]{3})/.exec(source.toString('latin1', i, i + 4)) : null;
    bytes.push(octal === null ? source[i]! : Number.parseInt(octal[1]!, 8));
    if (octal !== null) i += 3;
  }
  return Buffer.from(bytes).toString();
}
