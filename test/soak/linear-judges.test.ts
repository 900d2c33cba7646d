import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { freshFolder } from '../support/cluster.js';
import { hasJudge, judgeFile, complaints as linearComplaints, type Verdict } from './linear/linearizable.js';
import { ACCOUNTS, BALANCE, type Operation, type Row } from './linear/operations.js';
import { isLinear } from './linear/roles.js';
import { judgeSessions } from './linear/sessions.js';
import { unexpectedErrors } from './linear/sqlite-errors.js';

/** The judges are judged: histories made by hand, which they have to tell apart. */

const START: Row = { value: 0, by: '' };

/** An operation of a client, `start` to `end`. */
function operation(id: string, start: number, end: number, more: Partial<Operation>): Operation {
  const [client = '0'] = id.split('.');
  const base = { client: Number(client), node: 'primary', op: 'read', locked: true, kind: 'ok' } as const;
  return { ...base, id, start_ns: start, end_ns: end, input: {}, output: {}, wrote: false, ...more };
}

function write(id: string, start: number, end: number, value: number, before?: Row, more: Partial<Operation> = {}) {
  const output = before === undefined ? {} : { seen: { 1: before } };
  return operation(id, start, end, { op: 'write', input: { key: 1, value }, output, wrote: true, ...more });
}

function cas(id: string, start: number, end: number, expect: number, value: number, found: Row, done: boolean) {
  return operation(id, start, end, {
    op: 'cas',
    input: { key: 1, expect, value },
    output: { seen: { 1: found }, done },
    wrote: done,
  });
}

function read(id: string, start: number, end: number, found: Row, more: Partial<Operation> = {}) {
  return operation(id, start, end, { op: 'read', input: { key: 1 }, output: { seen: { 1: found } }, ...more });
}

/** Accounts as they are at the start, but for some. */
function accounts(changed: Readonly<Record<number, Row>>): Record<number, Row> {
  const all = Array.from({ length: ACCOUNTS }, (_, i) => [i, { value: BALANCE, by: '' }]);
  return { ...Object.fromEntries(all), ...changed };
}

/** 30 from account 0 to account 1. */
function transfer(id: string, start: number, end: number, from: Row, to: Row, more: Partial<Operation> = {}) {
  return operation(id, start, end, {
    op: 'transfer',
    input: { from: 0, to: 1, amount: 30 },
    output: { seen: { 0: from, 1: to }, done: from.value >= 30 },
    wrote: true,
    ...more,
  });
}

function balances(id: string, start: number, end: number, changed: Readonly<Record<number, Row>>) {
  return operation(id, start, end, { op: 'balances', output: { seen: accounts(changed) } });
}

const FULL: Row = { value: BALANCE, by: '' };

interface Sample {
  readonly name: string;
  readonly model: Verdict['model'];
  readonly history: readonly Operation[];
  /** What the judge has to say; left out: nothing. */
  readonly wrong?: RegExp;
}

const SAMPLES: readonly Sample[] = [
  {
    name: 'one after the other',
    model: 'register',
    history: [
      write('1.1', 0, 10, 5, START),
      read('2.1', 20, 30, { value: 5, by: '1.1' }),
      cas('3.1', 40, 50, 5, 6, { value: 5, by: '1.1' }, true),
      read('2.2', 60, 70, { value: 6, by: '3.1' }),
    ],
  },
  {
    name: 'two at once, in the order that the reads show',
    model: 'register',
    history: [
      write('1.1', 0, 100, 5, { value: 6, by: '2.1' }),
      write('2.1', 0, 100, 6, START),
      read('3.1', 50, 60, { value: 6, by: '2.1' }),
      read('3.2', 110, 120, { value: 5, by: '1.1' }),
    ],
  },
  {
    name: 'a stale read',
    model: 'register',
    history: [write('1.1', 0, 10, 5, START), read('2.1', 20, 30, START)],
    wrong: /^register, key 1: .* 2\.1 of client 2/,
  },
  {
    name: 'a lost update: two found the same',
    model: 'register',
    history: [write('1.1', 0, 100, 5, START), write('2.1', 0, 100, 6, START)],
    wrong: /^register, key 1/,
  },
  {
    name: 'a lost update by cas: both say that they found it',
    model: 'register',
    history: [cas('1.1', 0, 100, 0, 5, START, true), cas('2.1', 0, 100, 0, 6, START, true)],
    wrong: /^register, key 1/,
  },
  {
    name: 'a cas that says no though it found what it expected',
    model: 'register',
    history: [cas('1.1', 0, 10, 0, 5, START, false)],
    wrong: /^register, key 1/,
  },
  {
    name: 'keys are independent of each other, and one of them is wrong',
    model: 'register',
    history: [
      write('1.1', 0, 10, 5, START),
      write('1.2', 20, 30, 7, undefined, { input: { key: 2, value: 7 }, output: { seen: { 2: START } } }),
      read('2.1', 40, 50, START, { input: { key: 2 }, output: { seen: { 2: START } } }),
    ],
    wrong: /^register, key 2/,
  },
  {
    name: 'an unknown outcome that nobody saw',
    model: 'register',
    history: [write('1.1', 0, 10, 5, START, { kind: 'unknown' }), read('2.1', 20, 30, START)],
  },
  {
    name: 'an unknown outcome that took place after its client had given up',
    model: 'register',
    history: [
      write('1.1', 0, 10, 5, START, { kind: 'unknown' }),
      read('2.1', 20, 30, START),
      read('2.2', 40, 50, { value: 5, by: '1.1' }),
    ],
  },
  {
    name: 'an unknown outcome that was seen, and then was gone',
    model: 'register',
    history: [
      write('1.1', 0, 10, 5, START, { kind: 'unknown' }),
      read('2.1', 20, 30, { value: 5, by: '1.1' }),
      read('2.2', 40, 50, START),
    ],
    wrong: /^register, key 1/,
  },
  {
    name: 'an unknown outcome that was seen before it began',
    model: 'register',
    history: [read('2.1', 0, 10, { value: 5, by: '1.1' }), write('1.1', 20, 30, 5, START, { kind: 'unknown' })],
    wrong: /seen before it had started/,
  },
  {
    name: 'an unknown outcome that is known by one that is unknown too, and was seen',
    model: 'register',
    history: [
      write('1.1', 0, 10, 5, START, { kind: 'unknown' }),
      write('2.1', 20, 30, 6, { value: 5, by: '1.1' }, { kind: 'unknown' }),
      read('3.1', 40, 50, { value: 6, by: '2.1' }),
    ],
  },
  {
    name: 'a failure that is seen',
    model: 'register',
    history: [write('1.1', 0, 10, 5, START, { kind: 'fail' }), read('2.1', 20, 30, { value: 5, by: '1.1' })],
    wrong: /told that it had failed/,
  },
  {
    name: 'a value that nobody wrote',
    model: 'register',
    history: [read('2.1', 20, 30, { value: 5, by: '9.9' })],
    wrong: /no such operation/,
  },
  {
    name: 'transfers one after the other',
    model: 'bank',
    history: [
      transfer('1.1', 0, 10, FULL, FULL),
      balances('2.1', 20, 30, { 0: { value: 70, by: '1.1' }, 1: { value: 130, by: '1.1' } }),
      transfer('1.2', 40, 50, { value: 70, by: '1.1' }, { value: 130, by: '1.1' }),
      balances('2.2', 60, 70, { 0: { value: 40, by: '1.2' }, 1: { value: 160, by: '1.2' } }),
    ],
  },
  {
    name: 'a total that is not preserved',
    model: 'bank',
    history: [transfer('1.1', 0, 10, FULL, FULL), balances('2.1', 20, 30, { 0: { value: 70, by: '1.1' } })],
    wrong: /470 in all/,
  },
  {
    name: 'a total that is right, in a state that never was',
    model: 'bank',
    history: [
      transfer('1.1', 0, 10, FULL, FULL),
      balances('2.1', 20, 30, { 0: { value: 60, by: '1.1' }, 1: { value: 140, by: '1.1' } }),
    ],
    wrong: /^bank, all accounts/,
  },
  {
    name: 'an old state, after a newer one was read',
    model: 'bank',
    history: [
      transfer('1.1', 0, 100, FULL, FULL),
      balances('2.1', 20, 30, { 0: { value: 70, by: '1.1' }, 1: { value: 130, by: '1.1' } }),
      balances('3.1', 40, 50, {}),
    ],
    wrong: /^bank, all accounts/,
  },
  {
    name: 'two transfers that found the same balances',
    model: 'bank',
    history: [transfer('1.1', 0, 100, FULL, FULL), transfer('2.1', 0, 100, FULL, FULL)],
    wrong: /^bank, all accounts/,
  },
  {
    name: 'unknown transfers, one seen and one not',
    model: 'bank',
    history: [
      transfer('1.1', 0, 10, FULL, FULL, { kind: 'unknown' }),
      transfer('2.1', 0, 10, FULL, FULL, { kind: 'unknown' }),
      balances('3.1', 20, 30, {}),
      balances('3.2', 40, 50, { 0: { value: 70, by: '2.1' }, 1: { value: 130, by: '2.1' } }),
    ],
  },
];

const test = suite('judges of histories');
const withJudge = hasJudge();

for (const { name, model, history, wrong } of withJudge ? SAMPLES : []) {
  test(`${model}: ${name}`, () => {
    const found = linearComplaints(
      judge(
        model,
        history.map((each) => JSON.stringify(each)),
      ),
    );
    if (wrong === undefined) assert.equal(found, []);
    else assert.match(found.join('\n'), wrong);
  });
}

if (withJudge) {
  test('histories without ids: unknown outcomes are tried both ways', () => {
    const line = (text: string) => JSON.stringify({ client: 1, ...JSON.parse(text) });
    const unknown = line('{"op":"write","start_ns":0,"end_ns":1,"kind":"unknown","input":{"key":1,"value":5}}');
    const found = (value: number, start: number) =>
      line(
        `{"op":"read","start_ns":${start},"end_ns":${start + 5},"kind":"ok","input":{"key":1},"output":{"seen":{"1":{"value":${value}}}}}`,
      );
    assert.is(judge('register', [unknown, found(0, 10), found(5, 20)]).ok, true);
    assert.is(judge('register', [unknown, found(0, 10)]).ok, true);
    assert.is(judge('register', [unknown, found(5, 10), found(0, 20)]).ok, false);
    assert.is(judge('register', [unknown, found(6, 10)]).ok, false);
  });

  test('what is no history cannot be judged', () => {
    for (const line of ['{', '{"op":"read","kind":"maybe"}', '{"op":"read","kind":"ok","start_ns":2,"end_ns":1}'])
      assert.match(judge('register', [line]).error!, /^line 1: /);
  });
}

test('sessions: a replica may be behind, and never goes back', () => {
  const there = { node: 'replica 1', locked: false } as const;
  const [one, two] = [
    write('1.1', 0, 10, 5, START, at(1, '1.1')),
    write('1.2', 20, 30, 6, { value: 5, by: '1.1' }, at(2, '1.2')),
  ];
  const old = read('2.1', 40, 50, { value: 5, by: '1.1' }, { ...there, ...at(1, '1.1') });
  const fresh = read('3.1', 60, 70, { value: 6, by: '1.2' }, { ...there, ...at(2, '1.2') });
  assert.equal(judgeSessions([one, two, old, fresh]), []);
  assert.equal([one, two, old, fresh].filter(isLinear), [one, two]);
  const back = read('2.2', 80, 90, { value: 5, by: '1.1' }, { ...there, ...at(1, '1.1') });
  assert.match(
    judgeSessions([one, two, old, fresh, back]).join('\n'),
    /^reads go back on one node \(replica 1\): 2\.2/,
  );
  const beside = read('2.2', 65, 90, { value: 5, by: '1.1' }, { ...there, ...at(1, '1.1') });
  assert.equal(judgeSessions([one, two, old, fresh, beside]), []);
  const elsewhere = read('2.2', 80, 90, { value: 5, by: '1.1' }, { ...there, ...at(1, '1.1'), node: 'replica 2' });
  assert.match(
    judgeSessions([two, one, fresh, { ...fresh, id: '2.0', client: 2 }, elsewhere]).join('\n'),
    /on one client \(2\)/,
  );
});

test('sessions: who wrote on a replica reads it there', () => {
  const there = { node: 'replica 1' } as const;
  const one = write('1.1', 0, 10, 5, START, { ...there, ...at(1, '1.1') });
  const unread = read('2.1', 20, 30, START, { ...there, locked: false, ...at(0, '') });
  assert.match(judgeSessions([one, unread]).join('\n'), /^does not read what was written on one node/);
  assert.equal(judgeSessions([{ ...one, kind: 'unknown' }, unread]), []);
});

test('sessions: what had the lock is in one order, over all registers and nodes', () => {
  const one = write('1.1', 0, 10, 5, START, at(1, '1.1'));
  const other = { input: { key: 2 }, output: { seen: { 2: START } } };
  const unaware = read('2.1', 20, 30, START, { ...other, node: 'replica 1', ...at(0, '') });
  assert.match(judgeSessions([one, unaware]).join('\n'), /^does not read what was written on one database/);
  assert.equal(judgeSessions([one, { ...unaware, locked: false }]), []);
  if (withJudge)
    assert.equal(
      linearComplaints(
        judge(
          'register',
          [one, unaware].map((each) => JSON.stringify(each)),
        ),
      ),
      [],
    );
});

test('sessions: each read is one state of the database', () => {
  const one = transfer('1.1', 0, 10, FULL, FULL, at(1, '1.1'));
  const torn = { ...balances('2.1', 20, 30, { 0: { value: 70, by: '1.1' } }), ...at(1, '1.1'), node: 'replica 1' };
  assert.match(judgeSessions([one, torn]).join('\n'), /^no state of the database: 2\.1 on the replica 1/);
  const whole = { ...torn, output: { seen: accounts({ 0: { value: 70, by: '1.1' }, 1: { value: 130, by: '1.1' } }) } };
  assert.equal(judgeSessions([one, whole]), []);
  // Also of one whose client was never told, if it is seen.
  assert.equal(judgeSessions([{ ...one, kind: 'unknown' }, whole]), []);
});

test('sessions: two that made the same version', () => {
  const one = write('1.1', 0, 100, 5, START, at(1, '1.1'));
  const two = write('2.1', 0, 100, 6, START, at(1, '2.1'));
  assert.match(judgeSessions([one, two]).join('\n'), /^lost update: 1\.1 and 2\.1 both made version 1/);
});

test('errors: busy anywhere, and COMMIT on a replica', () => {
  const failed = (node: string, code: string, step: string) =>
    operation('1.1', 0, 1, { node, kind: 'fail', error: { code, step } });
  assert.equal(
    unexpectedErrors([
      failed('primary', 'SQLITE_BUSY_SNAPSHOT', 'lock'),
      failed('replica 1', 'SQLITE_IOERR_WRITE', 'commit'),
    ]),
    [],
  );
  const wrong = [
    failed('primary', 'SQLITE_IOERR_WRITE', 'commit'),
    failed('replica 1', 'SQLITE_CORRUPT', 'read'),
    failed('replica 1', 'SQLITE_CORRUPT', 'read'),
  ];
  assert.equal(unexpectedErrors(wrong), [
    'an application saw SQLITE_IOERR_WRITE at commit on the primary, 1 times',
    'an application saw SQLITE_CORRUPT at read on the replica 1, 2 times',
  ]);
});

function at(value: number, by: string): { readonly version: Row } {
  return { version: { value, by } };
}

function judge(model: Verdict['model'], lines: readonly string[]): Verdict {
  const path = join(freshFolder('history'), 'history.jsonl');
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
  return judgeFile(model, path);
}

test.run();
