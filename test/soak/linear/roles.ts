import type { NodeName } from './operations.js';

export const PRIMARY: NodeName = 'primary';
export const NODES: readonly NodeName[] = [PRIMARY, 'replica 1', 'replica 2'];

/** The nodes on which applications write: the switch. On the others they read. */
export const WRITERS: readonly NodeName[] = NODES;

/**
 * Whether an operation has to be linearizable: all that has the write lock, and what is read on the primary. A plain read
 * on a replica may be of a moment ago (see sessions.ts).
 */
export function isLinear({ locked, node }: { readonly locked: boolean; readonly node: NodeName }): boolean {
  return locked || node === PRIMARY;
}
