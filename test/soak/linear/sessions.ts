import type { Operation, Row } from './operations.js';
import { isLinear } from './roles.js';

/**
 * What holds of reads that need not be linearizable, those on a replica: each sees a state that the database had (no
 * mixture of two), on one node never an older one than before, and whoever wrote on a node reads it there. Pure.
 */

/** How many are told of each kind. */
const MAX_TOLD = 5;

/** What is wrong with a history; empty if nothing is. */
export function judgeSessions(history: readonly Operation[]): string[] {
  const done = history.filter(({ kind, version }) => kind === 'ok' && version !== undefined);
  return [
    judgeVersions(done),
    // The judge in checker/ looks at each register by itself; this is the order of all of them.
    judgeOrder(done.filter(isLinear), 'database', () => 'with the write lock'),
    judgeOrder(done, 'client', ({ client }) => client),
    judgeOrder(done, 'node', ({ node }) => node),
    judgeStates(history, done),
  ].flatMap((found) =>
    found.length > MAX_TOLD ? [...found.slice(0, MAX_TOLD), `and ${found.length - MAX_TOLD} more`] : found,
  );
}

/** No two writers made the same version: one of them would be lost. */
function judgeVersions(done: readonly Operation[]): string[] {
  const writers = new Map<number, Operation>();
  return done.flatMap((operation) => {
    if (!operation.wrote) return [];
    const { value } = operation.version!;
    const other = writers.get(value);
    writers.set(value, operation);
    return other === undefined ? [] : [`lost update: ${other.id} and ${operation.id} both made version ${value}`];
  });
}

/** Whoever starts after another has ended, within a group, sees no older version: nor after a read, nor after a write. */
function judgeOrder(done: readonly Operation[], what: string, groupOf: (operation: Operation) => unknown): string[] {
  return [...groups(done, groupOf)].flatMap(([name, operations]) => {
    const ended = [...operations].sort((a, b) => a.end_ns - b.end_ns);
    const started = [...operations].sort((a, b) => a.start_ns - b.start_ns);
    let newest: Operation | undefined;
    let next = 0;
    return started.flatMap((operation) => {
      for (; next < ended.length && ended[next]!.end_ns < operation.start_ns; next++) {
        if (newest === undefined || versionOf(ended[next]!) > versionOf(newest)) newest = ended[next];
      }
      if (newest === undefined || versionOf(operation) >= versionOf(newest)) return [];
      const promise = newest.wrote ? 'does not read what was written' : 'reads go back';
      const who = `${operation.id} (${operation.op}, on the ${operation.node})`;
      return [
        `${promise} on one ${what} (${name}): ${who} saw version ${versionOf(operation)}, after ${newest.id} had ${versionOf(newest)}`,
      ];
    });
  });
}

/** Each read is the state of its version: of each row the last one that was written up to it. */
function judgeStates(history: readonly Operation[], done: readonly Operation[]): string[] {
  const seen = new Set<string>();
  for (const { output, version } of done) {
    for (const { by } of [...Object.values(output.seen ?? {}), version!]) seen.add(by);
  }
  const writes = new Map<string, RowHistory>();
  const happened = history.filter(
    ({ id, kind, wrote }) => wrote && (kind === 'ok' || (kind === 'unknown' && seen.has(id))),
  );
  for (const operation of happened.sort((a, b) => versionOf(a) - versionOf(b))) {
    for (const [row, value] of written(operation)) {
      const list = writes.get(row) ?? [];
      list.push({ version: versionOf(operation), value, by: operation.id });
      writes.set(row, list);
    }
  }
  return done.flatMap((operation) =>
    Object.entries(operation.output.seen ?? {}).flatMap(([key, found]) => {
      const row = `${tableOf(operation)} ${key}`;
      // A writer read what was there before its own version.
      const last = versionOf(operation) - (operation.wrote ? 1 : 0);
      const expected = writes.get(row)?.findLast(({ version }) => version <= last);
      if (found.by === (expected?.by ?? '') && (expected === undefined || expected.value === found.value)) return [];
      const there = expected === undefined ? 'nothing' : `${expected.value} by ${expected.by}`;
      return [
        `no state of the database: ${operation.id} on the ${operation.node} at version ${versionOf(operation)} saw ${row} as ${found.value} by ${found.by}, and there was ${there}`,
      ];
    }),
  );
}

type RowHistory = (Row & { readonly version: number })[];

const tableOf = ({ op }: Operation): string => (op === 'balances' || op === 'transfer' ? 'account' : 'key');

/** The rows that an operation wrote, with what it put there. */
function written({ op, input, output }: Operation): [row: string, value: number][] {
  if (op !== 'transfer') return [[`key ${input.key}`, input.value!]];
  const after = (account: number, by: number): [string, number] => [
    `account ${account}`,
    output.seen![account]!.value + by,
  ];
  return [after(input.from!, -input.amount!), after(input.to!, input.amount!)];
}

function versionOf({ version }: Operation): number {
  return version!.value;
}

function groups(
  operations: readonly Operation[],
  groupOf: (operation: Operation) => unknown,
): Map<unknown, Operation[]> {
  const found = new Map<unknown, Operation[]>();
  for (const operation of operations) {
    const group = groupOf(operation);
    const list = found.get(group);
    if (list === undefined) found.set(group, [operation]);
    else list.push(operation);
  }
  return found;
}
