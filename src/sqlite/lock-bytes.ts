/**
 * The bytes that SQLite's unix VFS locks: of the database file (https://www.sqlite.org/fileformat2.html#the_lock_byte_page)
 * and of the -shm file (https://www.sqlite.org/walformat.html#the_wal_index_file_format).
 */

/** Taken for a moment by each new reader, held by a writer that waits for readers to leave. */
export const PENDING_BYTE = 0x40000000;
/** Held by the one connection that means to write, in rollback modes. */
export const RESERVED_BYTE = PENDING_BYTE + 1;
/** Read-locked by readers, write-locked by EXCLUSIVE. A WAL connection read-locks it for as long as it is open. */
export const SHARED_FIRST = PENDING_BYTE + 2;
export const SHARED_SIZE = 510;

/** In the -shm: the write lock of a WAL database. */
export const WAL_WRITE_BYTE = 120;
export const WAL_CHECKPOINT_BYTE = 121;
export const WAL_RECOVER_BYTE = 122;
/** The first of the five bytes that go with the read marks. */
export const WAL_READ_BYTE = 123;
export const WAL_READ_MARKS = 5;
/** The "dead man's switch": read-locked by everyone who has the -shm open. */
export const WAL_DEAD_MAN_BYTE = 128;
