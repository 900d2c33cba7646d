import {
  ASYNC_READ,
  ATOMIC_O_TRUNC,
  BIG_WRITES,
  EXPLICIT_INVAL_DATA,
  HAS_RESEND,
  INIT_EXT,
  KERNEL_MINOR,
  KERNEL_VERSION,
  MAX_PAGES,
  MAX_PAGES_FLAG,
  MAX_WRITE,
  MINOR_AT_LEAST,
  NO_OPENDIR_SUPPORT,
  PARALLEL_DIROPS,
  PASSTHROUGH,
  POSIX_LOCKS,
} from './protocol.js';
import type { InitReply } from './reply.js';

/** What a process must know of a mount that an earlier one negotiated; kept in `<run>/session.json`. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  readonly locks: 'kernel' | 'sluice';
  /** The kernel may be told once that folders need no OPENDIR. */
  readonly foldersNeedNoOpen: boolean;
  /** The kernel can send requests again to the next process. */
  readonly resend: boolean;
  /** The kernel can read and write backing files by itself; see passthrough.ts. */
  readonly passthrough: boolean;
}

const WANTED =
  ASYNC_READ | ATOMIC_O_TRUNC | BIG_WRITES | PARALLEL_DIROPS | MAX_PAGES_FLAG | EXPLICIT_INVAL_DATA | INIT_EXT;

/** As exact as times are here; see `putTime` in reply.ts. */
const TIME_GRANULARITY_NS = 1000;

/** File systems that may stand below one that passes on, itself among them: the backing files' is none that is stacked. */
const STACK_DEPTH = 1;

/** Background requests (RELEASE, readahead, write-back of mapped pages) under way at most, and when the kernel slows down. */
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;

/**
 * What we take of what the kernel offers. WRITEBACK_CACHE is never taken: writes must be seen when they are made.
 * Undefined if the kernel is too old.
 */
export function negotiate(
  major: number,
  minor: number,
  readaheadBytes: number,
  flags: number,
  flags2: number,
  locks: 'kernel' | 'sluice',
  passthrough = false,
): { reply: InitReply; negotiated: Negotiated } | undefined {
  if (major !== KERNEL_VERSION || minor < MINOR_AT_LEAST) return undefined;
  const wanted = locks === 'sluice' ? WANTED | POSIX_LOCKS : WANTED;
  const taken = wanted & flags;
  const wanted2 = passthrough ? HAS_RESEND | PASSTHROUGH : HAS_RESEND;
  const taken2 = (taken & INIT_EXT) !== 0 ? wanted2 & flags2 : 0;
  const agreed = Math.min(minor, KERNEL_MINOR);
  return {
    reply: {
      major: KERNEL_VERSION,
      minor: agreed,
      readaheadBytes,
      flags: taken,
      flags2: taken2,
      maxBackground: MAX_BACKGROUND,
      congestionThreshold: CONGESTION_THRESHOLD,
      maxWriteBytes: MAX_WRITE,
      timeGranularityNs: TIME_GRANULARITY_NS,
      maxPages: MAX_PAGES,
      stackDepth: (taken2 & PASSTHROUGH) !== 0 ? STACK_DEPTH : 0,
    },
    negotiated: {
      minor: agreed,
      flags: taken,
      flags2: taken2,
      locks,
      foldersNeedNoOpen: (flags & NO_OPENDIR_SUPPORT) !== 0,
      resend: (taken2 & HAS_RESEND) !== 0,
      passthrough: (taken2 & PASSTHROUGH) !== 0,
    },
  };
}
