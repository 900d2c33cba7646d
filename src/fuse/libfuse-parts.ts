import type { Backing, Result } from './backing.js';
import type { FileOperations } from './files.js';
import type { NameOperations } from './names.js';
import type { FuseNative, Operation, Signal } from './native-binding.js';
import type { PathNodes } from './path-nodes.js';
import type { PoolSyncer } from './pool-syncer.js';

/** A result of `Run`: it has called, or will call, the signal itself. */
export const ANSWERED_LATER = -4097;

/** Does what a request asks for; called anew each time that the request is presented. */
export type Run = (record: Buffer, ...args: never[]) => Result;
export type Answer = (signal: Signal, record: Buffer, result: Result, args: readonly unknown[]) => void;

/** What the two sets of handlers work with. */
export interface LibfuseParts {
  readonly native: FuseNative;
  readonly backing: Backing;
  readonly operations: FileOperations;
  readonly names: NameOperations;
  readonly paths: PathNodes;
  readonly syncer: PoolSyncer;
  /** Registers an operation, and the opcode under which it is counted. By default only the result is answered. */
  readonly on: (operation: Operation, opcode: number, run: Run, answer?: Answer) => void;
}
