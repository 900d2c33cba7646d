import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Standing, verdictOf } from '../../src/proxy/wait-rule.js';

const test = suite('proxy/wait-rule');
const ARRIVED_MS = 1000;

interface Case {
  readonly what: string;
  readonly positions: Record<string, number> | null;
  readonly lineage?: string;
  readonly node: {
    readonly role?: 'primary';
    readonly lineage?: string | null;
    readonly here?: Record<string, number>;
    readonly told?: Record<string, number>;
    readonly asOfMs?: number;
    readonly past?: string;
    readonly covers?: string;
  };
  readonly verdict: 'go' | 'wait' | 'primary';
}

const CASES: readonly Case[] = [
  { what: 'it is here', positions: { a: 5 }, node: { here: { a: 5 } }, verdict: 'go' },
  { what: 'it is not here yet', positions: { a: 5 }, node: { here: { a: 4 } }, verdict: 'wait' },
  { what: 'one of two is not', positions: { a: 5, b: 1 }, node: { here: { a: 9 } }, verdict: 'wait' },
  { what: 'a database that does not count', positions: { a: 5 }, node: { covers: 'b' }, verdict: 'go' },
  { what: 'the primary has all', positions: { a: 5 }, node: { role: 'primary' }, verdict: 'go' },
  { what: 'the primary has also what is not known', positions: null, node: { role: 'primary' }, verdict: 'go' },
  { what: 'what is not known is at the primary', positions: null, node: { here: { a: 5 } }, verdict: 'primary' },
  { what: 'no primary was heard yet', positions: { a: 5 }, node: { lineage: null, asOfMs: 2000 }, verdict: 'wait' },
  { what: 'the primary has it', positions: { a: 5 }, node: { told: { a: 5 }, asOfMs: 2000 }, verdict: 'wait' },
  { what: 'dropped: the primary does not have it since', positions: { a: 5 }, node: { asOfMs: 2000 }, verdict: 'go' },
  { what: 'the primary said so before', positions: { a: 5 }, node: { asOfMs: 999 }, verdict: 'wait' },
  {
    what: 'another lineage, which may be newer',
    lineage: 'x',
    positions: { a: 5 },
    node: { told: { a: 4 } },
    verdict: 'wait',
  },
  {
    what: 'another lineage, and it will come',
    lineage: 'x',
    positions: { a: 5 },
    node: { told: { a: 5 }, here: { a: 4 } },
    verdict: 'wait',
  },
  {
    what: 'another lineage, and it never will',
    lineage: 'x',
    positions: { a: 5 },
    node: { told: { a: 4 }, here: { a: 4 }, asOfMs: 1000 },
    verdict: 'go',
  },
  {
    what: 'a past lineage, and it never will',
    lineage: 'x',
    positions: { a: 5 },
    node: { told: { a: 4 }, here: { a: 4 }, past: 'x' },
    verdict: 'go',
  },
  {
    what: 'a past lineage: not before what the primary has is here',
    lineage: 'x',
    positions: { a: 5 },
    node: { told: { a: 4 }, here: { a: 3 }, past: 'x' },
    verdict: 'wait',
  },
  {
    what: 'a past lineage while nobody is followed',
    lineage: 'x',
    positions: { a: 5 },
    node: { lineage: null, past: 'x' },
    verdict: 'wait',
  },
];

for (const { what, positions, lineage = 'now', node, verdict } of CASES) {
  test(`${what}: ${verdict}`, () => {
    const standing: Standing = {
      role: node.role ?? 'replica',
      lineage: node.lineage === undefined ? 'now' : node.lineage,
      asOfMs: node.asOfMs ?? 0,
      txid: (name) => node.here?.[name],
      told: (name) => node.told?.[name],
      isPast: (other) => other === node.past,
      covers: (name) => node.covers === undefined || node.covers === name,
    };
    const bookmark = { lineage, positions: positions === null ? null : new Map(Object.entries(positions)) };
    assert.is(verdictOf(bookmark, standing, ARRIVED_MS), verdict);
  });
}

test.run();
