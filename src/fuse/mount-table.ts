import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const PROGRAM_TIMEOUT_MS = 5_000;

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
export function mountAt(path: string, table: string = readTable()): MountEntry | undefined {
  let found: MountEntry | undefined;
  for (const line of table.split('\n')) {
    const entry = parseMount(line);
    if (entry?.path === path) found = entry;
  }
  return found;
}

function readTable(): string {
  if (process.platform === 'linux') return readFileSync('/proc/self/mountinfo', 'utf8');
  return tableOf(spawnSync('mount', { encoding: 'utf8', timeout: PROGRAM_TIMEOUT_MS }).stdout ?? '');
}

/** What macOS's mount program prints (`source on /path (macfuse, nodev, …)`), as lines of /proc/self/mountinfo. */
export function tableOf(printed: string): string {
  return printed
    .split('\n')
    .map((line) => /^(.*) on (\/.*) \(([^,)]+)/.exec(line))
    .filter((found) => found !== null)
    .map(([, source = '', path = '', type = '']) => {
      const kind = /fuse/.test(type) ? 'fuse' : type;
      return `0 0 0:- / ${escapeOctal(path)} rw - ${kind} ${escapeOctal(source)}`;
    })
    .join('\n');
}

const escapeOctal = (text: string): string => text.replaceAll('\\', '\\134').replaceAll(' ', '\\040');

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
