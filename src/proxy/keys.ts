import { createHmac, randomBytes } from 'node:crypto';
import { linkSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '../errors.js';

const KEY_BYTES = 32;
const KEY_FILE = 'proxy.key';

/** What the proxies of one cluster sign with: of each use a key of its own, so that nothing signed for one is good for the other. */
export interface ProxyKeys {
  readonly bookmark: Buffer;
  readonly mark: Buffer;
}

/** The same on all nodes that have the same token. */
export function keysOf(secret: string | Buffer): ProxyKeys {
  const derive = (use: string) => createHmac('sha256', secret).update(`sluice proxy ${use} 1`).digest();
  return { bookmark: derive('bookmark'), mark: derive('mark') };
}

/** For a node without a token: a secret of its own in its data folder, made once. */
export function ownSecret(dataFolder: string): Buffer {
  const file = join(dataFolder, KEY_FILE);
  try {
    const secret = readFileSync(file);
    if (secret.length === KEY_BYTES) return secret;
    unlinkSync(file);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  // Whole, or not there at all.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, randomBytes(KEY_BYTES), { mode: 0o600 });
  try {
    linkSync(draft, file);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  } finally {
    unlinkSync(draft);
  }
  return readFileSync(file);
}
