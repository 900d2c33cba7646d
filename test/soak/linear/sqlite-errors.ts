import type { Operation } from './operations.js';

/**
 * The errors that applications have to expect, beside busy ones: on a replica COMMIT may say that the primary did not take
 * the transaction, or did not answer. Nodes that die, or that are cut off or stopped, are a pause and no error.
 */
export function unexpectedErrors(history: readonly Operation[]): string[] {
  const counts = new Map<string, number>();
  for (const { error, node } of history) {
    if (error === undefined || error.code.startsWith('SQLITE_BUSY')) continue;
    if (node !== 'primary' && error.step === 'commit' && error.code.startsWith('SQLITE_IOERR')) continue;
    const name = `${error.code} at ${error.step} on the ${node}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `an application saw ${name}, ${count} times`);
}
