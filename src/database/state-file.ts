import { closeSync, fdatasyncSync, openSync, readFileSync, readSync, writeSync } from '../disk/index.js';
import { Crc64 } from '../ltx/index.js';

/**
 * Where one database stands, rewritten after each transaction: a 256-byte record, two of them in turn so that a torn
 * write leaves the other. Nothing is synced: after a crash of the process the page cache has it, after a crash of the
 * machine (another boot id) it is only believed if the stop was clean.
 */
export interface DatabaseState {
  readonly txid: number;
  readonly checksum: bigint;
  readonly pageSize: number;
  readonly pageCount: number;
  /** How far the WAL is in the log. Salts 0, 0: no WAL. */
  readonly walSalt1: number;
  readonly walSalt2: number;
  readonly walFrames: number;
  readonly timeMs: number;
  /** The node stopped in order; sizes and times below are those of the files then. */
  readonly clean: boolean;
  /** The page checksums beside it are not to be believed. */
  readonly untrusted: boolean;
  /** The application deleted the database. */
  readonly dropped: boolean;
  /**
   * The log's transactions from this TXID on are being written into the database file once more, so that the file is
   * of no position at all until that is done; 0: not so.
   */
  readonly redoFrom: number;
  /** A replica's: a snapshot takes its place, and what was there is set aside or the primary's own. Until it is done. */
  readonly replacing: boolean;
  /** A replica's: what a crash left in its files is of no position that it came to by the stream. */
  readonly stray: boolean;
  /** A replica's: the run of the primary whose history this position is in; 0n: not known, or a local transaction. */
  readonly origin: bigint;
  readonly fileSize: number;
  readonly fileTimeMs: number;
  readonly walSize: number;
  readonly walTimeMs: number;
}

export const INITIAL_STATE: DatabaseState = {
  txid: 0,
  checksum: 0n,
  pageSize: 0,
  pageCount: 0,
  walSalt1: 0,
  walSalt2: 0,
  walFrames: 0,
  timeMs: 0,
  clean: false,
  untrusted: true,
  dropped: false,
  redoFrom: 0,
  replacing: false,
  stray: false,
  origin: 0n,
  fileSize: 0,
  fileTimeMs: 0,
  walSize: 0,
  walTimeMs: 0,
};

const MAGIC = 0x534c5332; // "SLS2"
/** Its checksums are the XOR of CRCs, which no database has here: where it stood is known, not what it held. */
const CRC_MAGIC = 0x534c5331;
const RECORD_SIZE = 256;
const CHECKED_SIZE = RECORD_SIZE - 8;
const FLAG_CLEAN = 1;
const FLAG_UNTRUSTED = 2;
const FLAG_DROPPED = 4;
const FLAG_REPLACING = 8;
const FLAG_STRAY = 16;

/** Changes with every boot of the machine; 16 bytes. */
function bootId(): Buffer {
  try {
    const text = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').replaceAll('-', '').trim();
    return Buffer.from(text, 'hex').subarray(0, 16);
  } catch {
    return Buffer.alloc(16);
  }
}

export class StateFile {
  private readonly fd: number;
  private sequence = 0;
  private readonly record = Buffer.alloc(RECORD_SIZE);
  private readonly crc = new Crc64();
  private readonly boot = bootId();
  /** The state found at open, and whether it was written since the machine booted. */
  readonly found: DatabaseState | undefined;
  readonly sameBoot: boolean;

  constructor(path: string) {
    this.fd = openSync(path, 'a+');
    closeSync(this.fd);
    this.fd = openSync(path, 'r+');
    let best: { sequence: number; state: DatabaseState; sameBoot: boolean } | undefined;
    for (const at of [0, RECORD_SIZE]) {
      const read = this.readRecord(at);
      if (read !== undefined && (best === undefined || read.sequence > best.sequence)) best = read;
    }
    this.found = best?.state;
    this.sameBoot = best?.sameBoot ?? false;
    this.sequence = best?.sequence ?? 0;
  }

  write(state: DatabaseState): void {
    const b = this.record;
    this.sequence++;
    b.writeUInt32BE(MAGIC, 0);
    b.writeDoubleBE(this.sequence, 8);
    b.writeDoubleBE(state.txid, 16);
    b.writeBigUInt64BE(state.checksum, 24);
    b.writeUInt32BE(state.pageSize, 32);
    b.writeUInt32BE(state.pageCount, 36);
    b.writeUInt32BE(state.walSalt1, 40);
    b.writeUInt32BE(state.walSalt2, 44);
    b.writeUInt32BE(state.walFrames, 48);
    b.writeUInt32BE(flagsOf(state), 52);
    this.boot.copy(b, 56);
    b.writeDoubleBE(state.fileSize, 72);
    b.writeDoubleBE(state.fileTimeMs, 80);
    b.writeDoubleBE(state.walSize, 88);
    b.writeDoubleBE(state.walTimeMs, 96);
    b.writeDoubleBE(state.timeMs, 104);
    b.writeDoubleBE(state.redoFrom, 112);
    b.writeBigUInt64BE(state.origin, 120);
    this.crc.reset();
    this.crc.update(b, 0, CHECKED_SIZE);
    b.writeUInt32BE(this.crc.high >>> 0, CHECKED_SIZE);
    b.writeUInt32BE(this.crc.low >>> 0, CHECKED_SIZE + 4);
    writeSync(this.fd, b, 0, RECORD_SIZE, (this.sequence & 1) * RECORD_SIZE);
  }

  sync(): void {
    fdatasyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }

  private readRecord(at: number): { sequence: number; state: DatabaseState; sameBoot: boolean } | undefined {
    const b = this.record;
    if (readSync(this.fd, b, 0, RECORD_SIZE, at) < RECORD_SIZE) return undefined;
    const isOld = b.readUInt32BE(0) === CRC_MAGIC;
    if (!isOld && b.readUInt32BE(0) !== MAGIC) return undefined;
    this.crc.reset();
    this.crc.update(b, 0, CHECKED_SIZE);
    if (b.readUInt32BE(CHECKED_SIZE) !== this.crc.high >>> 0) return undefined;
    if (b.readUInt32BE(CHECKED_SIZE + 4) !== this.crc.low >>> 0) return undefined;
    const flags = b.readUInt32BE(52);
    return {
      sequence: b.readDoubleBE(8),
      sameBoot: this.boot.equals(b.subarray(56, 72)),
      state: {
        txid: b.readDoubleBE(16),
        checksum: isOld ? 0n : b.readBigUInt64BE(24),
        pageSize: b.readUInt32BE(32),
        pageCount: b.readUInt32BE(36),
        walSalt1: b.readUInt32BE(40),
        walSalt2: b.readUInt32BE(44),
        walFrames: b.readUInt32BE(48),
        timeMs: b.readDoubleBE(104),
        clean: (flags & FLAG_CLEAN) !== 0,
        untrusted: isOld || (flags & FLAG_UNTRUSTED) !== 0,
        dropped: (flags & FLAG_DROPPED) !== 0,
        redoFrom: b.readDoubleBE(112),
        replacing: (flags & FLAG_REPLACING) !== 0,
        stray: (flags & FLAG_STRAY) !== 0,
        origin: b.readBigUInt64BE(120),
        fileSize: b.readDoubleBE(72),
        fileTimeMs: b.readDoubleBE(80),
        walSize: b.readDoubleBE(88),
        walTimeMs: b.readDoubleBE(96),
      },
    };
  }
}

function flagsOf({ clean, untrusted, dropped, replacing, stray }: DatabaseState): number {
  return (
    (clean ? FLAG_CLEAN : 0) |
    (untrusted ? FLAG_UNTRUSTED : 0) |
    (dropped ? FLAG_DROPPED : 0) |
    (replacing ? FLAG_REPLACING : 0) |
    (stray ? FLAG_STRAY : 0)
  );
}
