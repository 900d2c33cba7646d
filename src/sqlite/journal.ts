/** The rollback journal's header: https://www.sqlite.org/fileformat2.html#the_rollback_journal */

export const JOURNAL_HEADER_SIZE = 28;

/** First bytes of a journal. */
export const JOURNAL_MAGIC: readonly number[] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/**
 * Whether the bytes begin a journal that could still be played back. SQLite zeroes these bytes (PERSIST), truncates
 * the file (TRUNCATE) or removes it (DELETE) to commit.
 */
export function hasJournalMagic(bytes: Uint8Array, start = 0): boolean {
  if (bytes.length - start < JOURNAL_MAGIC.length) return false;
  for (let i = 0; i < JOURNAL_MAGIC.length; i++) if (bytes[start + i] !== JOURNAL_MAGIC[i]) return false;
  return true;
}

/** SQLite takes no longer name (its unix VFS's MAX_PATHNAME). */
const SUPER_NAME_MAX = 512;
const SUPER_BEFORE = 4;
const SUPER_BEHIND = 16;
/** A journal's last bytes that can hold the note of a super-journal. */
export const SUPER_NOTE_MAX = SUPER_BEFORE + SUPER_NAME_MAX + SUPER_BEHIND;

/** As SQLite makes it from the main database's name: `-mj`, six hex digits, 9, two hex digits. */
const SUPER_NAME = /-mj[0-9A-F]{6}9[0-9A-F]{2}$/;

/** Whether SQLite could have given a super-journal that name. */
export function isSuperJournalName(name: string): boolean {
  return SUPER_NAME.test(name);
}

export interface SuperJournalNote {
  /** Path of the super-journal, as the writer of the journal knew it. */
  readonly name: string;
  /** Bytes at the journal's end that are this note; without them the journal stands for itself. */
  readonly size: number;
}

/**
 * The note that ties a journal to those of other databases in one transaction, from the journal's last bytes:
 *
 * ```
 * u32 number of the lock page | name | u32 its length | u32 sum of its bytes | magic
 * ```
 *
 * Undefined if there is none, or if its sum is wrong: then SQLite too rolls the journal back by itself.
 */
export function superJournalNote(tail: Uint8Array): SuperJournalNote | undefined {
  const end = tail.length - SUPER_BEHIND;
  if (end < 0 || !hasJournalMagic(tail, end + 8)) return undefined;
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  const length = view.getUint32(end);
  if (length === 0 || length > SUPER_NAME_MAX || length + SUPER_BEFORE > end) return undefined;
  const name = tail.subarray(end - length, end);
  let signed = 0;
  let unsigned = 0;
  for (const byte of name) {
    signed += byte < 128 ? byte : byte - 256;
    unsigned += byte;
  }
  // C's `char` has a sign on some processors and none on others.
  const sum = view.getUint32(end + 4);
  if (sum !== signed >>> 0 && sum !== unsigned) return undefined;
  return { name: Buffer.from(name).toString(), size: SUPER_BEFORE + length + SUPER_BEHIND };
}
