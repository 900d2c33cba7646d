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
