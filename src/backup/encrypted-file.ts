import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { SluiceError } from '../errors.js';
import { LtxError } from '../ltx/index.js';
import type { BackupKey } from './key-file.js';

/**
 * An encrypted file: a header, then the plain bytes in segments, each with its tag. AES-256-GCM throughout.
 *
 *      0  8   "SLUICE-E"
 *      8  1   version: 1
 *      9  7   zero
 *     16  8   key id: HKDF-SHA256(key, no salt, "sluice backup key id")
 *     24  32  salt, random, another one in each file
 *     56      segments: 65,536 bytes, the last one 1 to 65,536 (0 if there are no bytes at all), each followed by its 16-byte tag
 *
 * The file's own key is HKDF-SHA256(key, salt, "sluice encrypted file 1\0" + place), where place is `<level, 4 hex
 * digits>/<min TXID>-<max TXID>.ltx` or `manifest`: a file under another name does not fit its tags. A segment's nonce is its
 * number, 11 bytes big-endian, then a byte that is 1 for the last segment (the STREAM construction, as in age): segments
 * cannot be left out, put in another order, or cut off. The header is each segment's associated data.
 */
export const ENCRYPTED_HEADER_BYTES = 56;
/** Plain bytes of a segment. */
export const SEGMENT_BYTES = 64 * 1024;
const TAG_BYTES = 16;
/** A segment and its tag. */
export const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;

const MAGIC = Buffer.from('SLUICE-E');
/** How many bytes `isEncrypted` wants to see. */
export const MAGIC_BYTES = MAGIC.length;
const VERSION = 1;
const INFO = 'sluice encrypted file 1\0';
const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const SALT_BYTES = 32;
const SALT_OFFSET = 24;

/** Whether these are a file's first bytes. */
export function isEncrypted(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC_BYTES && MAGIC.equals(bytes.subarray(0, MAGIC_BYTES));
}

/** Size of the encrypted file that has so many plain bytes. */
export function encryptedSize(plainBytes: number): number {
  const segments = Math.max(1, Math.ceil(plainBytes / SEGMENT_BYTES));
  return ENCRYPTED_HEADER_BYTES + plainBytes + segments * TAG_BYTES;
}

/** How many plain bytes an encrypted file of this size has; 0 for a size that none has. */
export function plainSize(encryptedBytes: number): number {
  const sealed = encryptedBytes - ENCRYPTED_HEADER_BYTES;
  return Math.max(0, sealed - Math.ceil(sealed / SEALED_SEGMENT_BYTES) * TAG_BYTES);
}

/** Encrypts one file as its bytes come. Holds one segment. */
export class FileEncryptor {
  /** Comes first. */
  readonly header: Uint8Array;
  private readonly sealer: Sealer;
  private readonly pending = Buffer.allocUnsafe(SEGMENT_BYTES);
  private pendingBytes = 0;
  private segment = 0;

  constructor(key: BackupKey, place: string, salt: Uint8Array = randomBytes(SALT_BYTES)) {
    const header = Buffer.alloc(ENCRYPTED_HEADER_BYTES);
    MAGIC.copy(header);
    header[MAGIC_BYTES] = VERSION;
    header.write(key.id, 16, 'hex');
    header.set(salt, SALT_OFFSET);
    this.header = header;
    this.sealer = new Sealer(key, place, header);
  }

  /** The segments that are whole and followed by another; perhaps none. */
  push(piece: Uint8Array): Uint8Array {
    const segments = Math.max(0, Math.ceil((this.pendingBytes + piece.length) / SEGMENT_BYTES) - 1);
    const sealed = Buffer.allocUnsafe(segments * SEALED_SEGMENT_BYTES);
    let at = 0;
    for (let i = 0; i < segments; i++) {
      const rest = SEGMENT_BYTES - this.pendingBytes;
      const head = this.pending.subarray(0, this.pendingBytes);
      const target = sealed.subarray(i * SEALED_SEGMENT_BYTES, (i + 1) * SEALED_SEGMENT_BYTES);
      this.sealer.seal(this.segment++, false, [head, piece.subarray(at, at + rest)], target);
      at += rest;
      this.pendingBytes = 0;
    }
    this.pending.set(piece.subarray(at), this.pendingBytes);
    this.pendingBytes += piece.length - at;
    return sealed;
  }

  /** The last segment. */
  end(): Uint8Array {
    const sealed = Buffer.allocUnsafe(this.pendingBytes + TAG_BYTES);
    this.sealer.seal(this.segment, true, [this.pending.subarray(0, this.pendingBytes)], sealed);
    return sealed;
  }
}

/** A whole small file. */
export function encryptBytes(key: BackupKey, place: string, bytes: Uint8Array): Uint8Array {
  const encryptor = new FileEncryptor(key, place);
  return Buffer.concat([encryptor.header, encryptor.push(bytes), encryptor.end()]);
}

/** The inverse. Throws what FileDecryptor throws. */
export function decryptBytes(key: BackupKey, place: string, bytes: Uint8Array): Uint8Array {
  const decryptor = new FileDecryptor(key, place);
  return Buffer.concat([decryptor.push(bytes), decryptor.end(true)]);
}

/** Where a decryptor begins that does not begin at the start of the file. */
export interface DecryptFrom {
  readonly header: Uint8Array;
  readonly segment: number;
}

/**
 * Decrypts a file, or some segments that follow each other, as the bytes come; nothing comes out that did not fit its tag.
 * Throws `STORE_KEY` (encrypted with another key, or not at all), `LTX_CHECKSUM` (damaged, or another file's) and
 * `LTX_TRUNCATED`: damage of an encrypted file is damage of the LTX file in it.
 */
export class FileDecryptor {
  private sealer: Sealer | undefined;
  private headerFound: Uint8Array | undefined;
  private readonly pending = Buffer.allocUnsafe(SEALED_SEGMENT_BYTES);
  private pendingBytes = 0;
  private segment = 0;

  constructor(
    private readonly key: BackupKey,
    private readonly place: string,
    from?: DecryptFrom,
  ) {
    if (from === undefined) return;
    this.segment = from.segment;
    this.begin(from.header);
  }

  /** Undefined until it has come. */
  get header(): Uint8Array | undefined {
    return this.headerFound;
  }

  /** What the segments hold that are followed by another; perhaps nothing. */
  push(chunk: Uint8Array): Uint8Array {
    const bytes = this.sealer === undefined ? this.takeHeader(chunk) : chunk;
    const { sealer } = this;
    if (sealer === undefined) return EMPTY;
    const segments = Math.max(0, Math.ceil((this.pendingBytes + bytes.length) / SEALED_SEGMENT_BYTES) - 1);
    const plain = Buffer.allocUnsafe(segments * SEGMENT_BYTES);
    let at = 0;
    for (let i = 0; i < segments; i++) {
      const rest = SEALED_SEGMENT_BYTES - this.pendingBytes;
      this.hold(bytes.subarray(at, at + rest));
      at += rest;
      const target = plain.subarray(i * SEGMENT_BYTES, (i + 1) * SEGMENT_BYTES);
      if (!sealer.open(this.segment, false, this.pending, target)) throw this.damage();
      this.segment++;
      this.pendingBytes = 0;
    }
    this.hold(bytes.subarray(at));
    return plain;
  }

  /**
   * What the last segment holds. `fileEnds`: there is no more in the file; without it, what came may also be all that was
   * asked for.
   */
  end(fileEnds: boolean): Uint8Array {
    const { sealer, pendingBytes } = this;
    if (sealer === undefined) {
      checkMagic(this.pending.subarray(0, pendingBytes));
      throw this.cut('in its header');
    }
    if (pendingBytes < TAG_BYTES) throw this.cut(`before byte ${this.segment * SEGMENT_BYTES}`);
    const plain = Buffer.allocUnsafe(pendingBytes - TAG_BYTES);
    const sealed = this.pending.subarray(0, pendingBytes);
    if (sealer.open(this.segment, true, sealed, plain)) return plain;
    const goesOn = pendingBytes === SEALED_SEGMENT_BYTES && sealer.open(this.segment, false, sealed, plain);
    if (!goesOn) throw this.damage();
    if (fileEnds) throw this.cut(`at byte ${(this.segment + 1) * SEGMENT_BYTES}`);
    return plain;
  }

  /** Returns what follows the header. */
  private takeHeader(chunk: Uint8Array): Uint8Array {
    const rest = ENCRYPTED_HEADER_BYTES - this.pendingBytes;
    this.hold(chunk.subarray(0, rest));
    if (this.pendingBytes < ENCRYPTED_HEADER_BYTES) return EMPTY;
    this.begin(Uint8Array.from(this.pending.subarray(0, ENCRYPTED_HEADER_BYTES)));
    this.pendingBytes = 0;
    return chunk.subarray(rest);
  }

  private begin(header: Uint8Array): void {
    checkHeader(this.key, header);
    this.headerFound = header;
    this.sealer = new Sealer(this.key, this.place, header);
  }

  private hold(bytes: Uint8Array): void {
    this.pending.set(bytes, this.pendingBytes);
    this.pendingBytes += bytes.length;
  }

  private cut(where: string): LtxError {
    return new LtxError('LTX_TRUNCATED', `the encrypted ${this.place} is cut: it ends ${where}`);
  }

  private damage(): LtxError {
    const from = this.segment * SEGMENT_BYTES;
    return new LtxError(
      'LTX_CHECKSUM',
      `what the encrypted ${this.place} holds from byte ${from} on does not fit its tag: it was changed, or stored under another name`,
    );
  }
}

/** Seals and opens the segments of one file. */
class Sealer {
  private readonly fileKey: Uint8Array;
  private readonly nonce = Buffer.alloc(NONCE_BYTES);

  constructor(
    key: BackupKey,
    place: string,
    private readonly header: Uint8Array,
  ) {
    const salt = header.subarray(SALT_OFFSET, SALT_OFFSET + SALT_BYTES);
    this.fileKey = new Uint8Array(hkdfSync('sha256', key.bytes, salt, INFO + place, key.bytes.length));
  }

  /** `target` has room for the parts and a tag. */
  seal(segment: number, last: boolean, parts: readonly Uint8Array[], target: Uint8Array): void {
    const cipher = createCipheriv(ALGORITHM, this.fileKey, this.nonceOf(segment, last), { authTagLength: TAG_BYTES });
    cipher.setAAD(this.header);
    let at = 0;
    for (const part of parts) {
      target.set(cipher.update(part), at);
      at += part.length;
    }
    cipher.final();
    target.set(cipher.getAuthTag(), at);
  }

  /** False if it does not fit its tag: then what `target` holds is worth nothing. */
  open(segment: number, last: boolean, sealed: Uint8Array, target: Uint8Array): boolean {
    const size = sealed.length - TAG_BYTES;
    const decipher = createDecipheriv(ALGORITHM, this.fileKey, this.nonceOf(segment, last), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(this.header);
    decipher.setAuthTag(sealed.subarray(size));
    target.set(decipher.update(sealed.subarray(0, size)));
    try {
      decipher.final();
      return true;
    } catch {
      return false;
    }
  }

  /** A key encrypts one file: so no nonce is used twice with it. */
  private nonceOf(segment: number, last: boolean): Buffer {
    this.nonce.writeUIntBE(segment, 5, 6);
    this.nonce[NONCE_BYTES - 1] = last ? 1 : 0;
    return this.nonce;
  }
}

const EMPTY = new Uint8Array(0);

function checkHeader(key: BackupKey, header: Uint8Array): void {
  checkMagic(header);
  const version = header[MAGIC_BYTES];
  if (version !== VERSION) {
    throw new SluiceError(
      'STORE_KEY',
      `it is encrypted in version ${version} of the format, which is not known here`,
      'Another version of Sluice may have written it',
    );
  }
  const id = Buffer.from(header.subarray(16, 24)).toString('hex');
  if (id !== key.id) {
    throw new SluiceError(
      'STORE_KEY',
      `it is encrypted with another key (its id is ${id}; the one given is ${key.id})`,
      'Name the right key file; sluice backup key --id FILE shows which key a file holds',
    );
  }
}

function checkMagic(start: Uint8Array): void {
  const seen = Math.min(start.length, MAGIC_BYTES);
  if (MAGIC.subarray(0, seen).equals(start.subarray(0, seen))) return;
  throw new SluiceError(
    'STORE_KEY',
    'it is not encrypted, but a key was given',
    'Read it without the key; to write an encrypted backup, choose an address where there is none yet',
  );
}
