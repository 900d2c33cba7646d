import type { Random } from './random.js';

/** One decoder under attack. */
export interface Target {
  /** Well-formed inputs to begin with. */
  readonly seeds: readonly Uint8Array[];
  /** What the format's own numbers and words are, as bytes; mutations put them anywhere. */
  readonly dictionary?: readonly Uint8Array[];
  /** No input is longer. */
  readonly maxBytes: number;
  /** Makes an input of its own, of a shape that changed bytes would hardly come to. */
  make?(random: Random): Buffer;
  /** Puts checksums and the like right again, so that what they guard is reached. Returns the input to use. */
  repair?(input: Buffer, random: Random): Buffer;
  /** Gives the input to the decoder. Throws if something happens that must not: that is a failure. */
  run(input: Buffer): void | Promise<void>;
  close?(): void;
}

export interface TargetOpener {
  /** `folder` is empty and the target's own. */
  open(folder: string): Target | Promise<Target>;
}

/** A target by name; its module is loaded, and its seeds made, only when it is used. */
export interface TargetEntry {
  readonly name: string;
  /** Inputs of the short run of CI: a fraction of a second's worth. */
  readonly quickInputs: number;
  load(): Promise<TargetOpener>;
}

/** What a decoder must not do. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function mustHold(holds: boolean, what: string): void {
  if (!holds) throw new Violation(what);
}

/** The result, or the error if it is one that the decoder may throw; any other error goes on. */
export function attempt<T>(
  allowed: (error: unknown) => boolean,
  decode: () => T,
): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: decode() };
  } catch (error) {
    if (!allowed(error)) throw error;
    return { error };
  }
}
