import { hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeError, errorCode, SluiceError } from '../errors.js';

/** AES-256's. */
export const KEY_BYTES = 32;
const ID_BYTES = 8;
const ID_INFO = 'sluice backup key id';
/** A key file has one line with the key, and perhaps comments. */
const FILE_LIMIT_BYTES = 4096;
const HOW_TO_MAKE = 'sluice backup key FILE makes a key file';

/** What a backup is encrypted with. */
export interface BackupKey {
  readonly bytes: Uint8Array;
  /** Tells keys apart and says nothing about them: 16 hex digits, of HKDF-SHA256(key, no salt, "sluice backup key id"). */
  readonly id: string;
}

export function backupKey(bytes: Uint8Array): BackupKey {
  if (bytes.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes, not ${bytes.length}`);
  const id = hkdfSync('sha256', bytes, new Uint8Array(0), ID_INFO, ID_BYTES);
  return { bytes, id: Buffer.from(id).toString('hex') };
}

/** Makes a key file that only its owner can read. Throws `STORE_KEY` if there is a file of this name, which stays. */
export function createKeyFile(path: string): BackupKey {
  const key = backupKey(randomBytes(KEY_BYTES));
  let fd: number | undefined;
  try {
    fd = openSync(path, 'wx', 0o600);
    writeSync(fd, formatKeyFile(key));
    fsyncSync(fd);
    syncFolder(dirname(path));
  } catch (cause) {
    if (errorCode(cause) === 'EEXIST')
      throw new SluiceError('STORE_KEY', `${path} exists already: a key is never replaced`, 'Choose another name', {
        cause,
      });
    throw new SluiceError('STORE_KEY', `cannot write the key file ${path}: ${describeError(cause)}`, '', { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return key;
}

/** Reads a key file. Throws `STORE_KEY`, never with anything of what the file holds. */
export function readKeyFile(path: string): BackupKey {
  let text: string;
  try {
    text = readStart(path);
  } catch (cause) {
    const message = `cannot read the key file ${path}: ${describeError(cause)}`;
    throw new SluiceError('STORE_KEY', message, errorCode(cause) === 'ENOENT' ? HOW_TO_MAKE : '', { cause });
  }
  const key = parseKeyFile(text);
  if (key === undefined)
    throw new SluiceError(
      'STORE_KEY',
      `${path} is no key file: it wants 64 hex digits, or base64 of 32 bytes`,
      HOW_TO_MAKE,
    );
  return key;
}

/** 64 hex digits, or base64 of 32 bytes, on a line; lines that begin with # are comments. Undefined for anything else. */
export function parseKeyFile(text: string): BackupKey | undefined {
  const lines = text.split('\n').map((line) => line.trim());
  const [line = '', ...more] = lines.filter((each) => each !== '' && !each.startsWith('#'));
  if (more.length > 0) return undefined;
  if (/^[0-9a-fA-F]{64}$/.test(line)) return backupKey(Buffer.from(line, 'hex'));
  if (/^[A-Za-z0-9+/]{43}=?$/.test(line)) return backupKey(Buffer.from(line, 'base64'));
  return undefined;
}

function formatKeyFile(key: BackupKey): string {
  return `# Sluice backup key ${key.id}. Without it nobody can read the backup: keep a copy in another place.
${Buffer.from(key.bytes).toString('hex')}
`;
}

/** The first bytes: what is larger is no key file, and need not be read to the end. */
function readStart(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(FILE_LIMIT_BYTES);
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}

function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
