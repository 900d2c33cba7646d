import { Random as Base } from '../../database/support/random.js';

/** Numbers that a seed decides. */
export class Random extends Base {
  /** A whole number of `bits` bits that are all as likely. */
  bits(bits: number): number {
    return this.below(2 ** bits);
  }

  /** Small ones are likelier: up to `limit`, exclusive. */
  small(limit: number): number {
    return this.below(1 + this.below(limit));
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let i = 0; i < length; i++) bytes[i] = this.next() * 256;
    return bytes;
  }
}
