import { LtxError } from './errors.js';
import { FLAG_NO_CHECKSUM, type LtxHeader } from './header.js';
import { CHECKSUM_FLAG, type Checksum } from './position.js';

/** Bytes of the trailer: u64 post-apply checksum (0 with flag 0x2), u64 file checksum. */
export const TRAILER_SIZE = 16;
/** Bytes of it that the file checksum covers. */
export const TRAILER_CHECKED_SIZE = 8;

export interface LtxTrailer {
  readonly postApply: Checksum;
  readonly fileChecksum: Checksum;
}

export function decodeTrailer(view: DataView, offset: number): LtxTrailer {
  return { postApply: view.getBigUint64(offset), fileChecksum: view.getBigUint64(offset + 8) };
}

/** The format's own database checksum after a file that has one. Throws `LTX_TRAILER`. */
export function standardPostApply(header: LtxHeader, trailer: LtxTrailer): Checksum | undefined {
  if (header.flags === FLAG_NO_CHECKSUM) {
    if (trailer.postApply !== 0n) throw bad('has a post-apply checksum in spite of flag 0x2');
    return undefined;
  }
  if ((trailer.postApply & CHECKSUM_FLAG) === 0n) throw bad('has no well-formed post-apply checksum');
  return trailer.postApply;
}

function bad(what: string): LtxError {
  return new LtxError('LTX_TRAILER', `bad LTX trailer: ${what}`);
}
