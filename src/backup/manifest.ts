import * as z from 'zod';
import { SluiceError } from '../errors.js';
import {
  type Checksum,
  formatChecksum,
  formatTxid,
  type Position,
  parseChecksum,
  parseTxid,
  type Txid,
} from '../ltx/index.js';
import type { StoreFile } from './store.js';

/** A file that a manifest names. */
export interface ManifestFile extends StoreFile {
  /** The database's after it; 0n if the file names none. */
  readonly checksum: Checksum;
}

/**
 * What a store says of one database beside its files: whose it is, and which files lead to its newest state. Restores and
 * followers read it with one request. The files are the truth: what a manifest lacks is found by a listing.
 */
export interface Manifest {
  /** One more with each node that takes the store over. A writer that finds a greater one than its own has lost it. */
  readonly generation: number;
  /** Names the process that writes. */
  readonly owner: string;
  /** When it was written, Unix milliseconds. */
  readonly writtenMs: number;
  /** Where the files lead to; ZERO_POSITION if there are none yet. */
  readonly position: Position;
  /**
   * The way to `position`: a snapshot, then what leads on from it, in order. Each begins at or before the TXID behind the
   * end of the one before it. Empty if it is not known.
   */
  readonly files: readonly ManifestFile[];
}

const VERSION = 2;
/** Its checksums are the XOR of CRCs, which no database has here: they count as unknown. */
const CRC_VERSION = 1;

const fileShape = z.tuple([
  z.int().min(0).max(9),
  z.string(),
  z.string(),
  z.number().nonnegative(),
  z.number(),
  z.string(),
]);

const manifestShape = z.object({
  version: z.literal([CRC_VERSION, VERSION]),
  generation: z.int().positive(),
  owner: z.string(),
  written: z.number(),
  txid: z.string(),
  checksum: z.string(),
  files: z.array(fileShape),
});

/**
 * JSON: `version`, `generation`, `owner`, `written` (Unix milliseconds), `txid` and `checksum` (16 hex digits), and `files`,
 * a line for each: `[level, min TXID, max TXID, bytes, Unix milliseconds, checksum]`.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const { generation, owner, writtenMs, position, files } = manifest;
  const head = {
    version: VERSION,
    generation,
    owner,
    written: writtenMs,
    txid: formatTxid(position.txid),
    checksum: formatChecksum(position.checksum),
  };
  const lines = files.map((file) =>
    JSON.stringify([
      file.level,
      formatTxid(file.minTxid),
      formatTxid(file.maxTxid),
      file.sizeBytes,
      file.timeMs,
      formatChecksum(file.checksum),
    ]),
  );
  return Buffer.from(`${JSON.stringify(head).slice(0, -1)},"files":[\n${lines.join(',\n')}\n]}\n`);
}

/** Throws `STORE_MANIFEST` for what is none, or is of a version of Sluice that is not known here. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  try {
    const parsed = manifestShape.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    const checksumOf = (text: string): Checksum => (parsed.version === CRC_VERSION ? 0n : parseChecksum(text));
    return {
      generation: parsed.generation,
      owner: parsed.owner,
      writtenMs: parsed.written,
      position: { txid: parseTxid(parsed.txid), checksum: checksumOf(parsed.checksum) },
      files: parsed.files.map(([level, min, max, sizeBytes, timeMs, checksum]) => ({
        level,
        ...range(parseTxid(min), parseTxid(max)),
        sizeBytes,
        timeMs,
        checksum: checksumOf(checksum),
      })),
    };
  } catch (cause) {
    throw new SluiceError(
      'STORE_MANIFEST',
      'the manifest cannot be understood',
      'Another version of Sluice may have written it',
      {
        cause,
      },
    );
  }
}

/** The same; the message names the store whose manifest it is. */
export function decodeManifestOf(url: string, bytes: Uint8Array): Manifest {
  try {
    return decodeManifest(bytes);
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    throw new SluiceError(error.code, `${url}: ${error.message}`, error.hint, { cause: error });
  }
}

/** Whether it is of a version of Sluice that is not known here, rather than damaged. */
export function isNewerManifest(bytes: Uint8Array): boolean {
  try {
    const { version } = z.object({ version: z.int() }).parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return version > VERSION;
  } catch {
    return false;
  }
}

function range(minTxid: Txid, maxTxid: Txid): { minTxid: Txid; maxTxid: Txid } {
  if (minTxid < 1 || maxTxid < minTxid) throw new SluiceError('STORE_MANIFEST', 'a file of no transaction');
  return { minTxid, maxTxid };
}
