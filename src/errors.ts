/**
 * An error that a user is meant to read: what failed, on which thing, and what to do.
 * Printed as one line and never with a stack; `code` is stable and is what programs compare.
 */
export class SluiceError extends Error {
  override readonly name: string = 'SluiceError';

  constructor(
    /** Stable, upper case, e.g. `MOUNT_BUSY`, `LTX_CHECKSUM`. */
    readonly code: string,
    message: string,
    /** What the user can do about it, one sentence; empty when there is nothing. */
    readonly hint: string = '',
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The text of anything thrown, with the hint of a SluiceError. One line. */
export function describeError(error: unknown): string {
  if (error instanceof SluiceError && error.hint !== '') return `${error.message}. ${error.hint}`;
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a SluiceError or of a Node.js system error; undefined for anything else. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
