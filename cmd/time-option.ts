import { InvalidArgumentError } from 'commander';

const UNITS_MS: Readonly<Record<string, number>> = {
  second: 1000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

/** RFC 3339 with its zone, or `2 hours ago`; Unix milliseconds. */
export function parseTimeOption(text: string, nowMs: number = Date.now()): number {
  const ago = /^(\d{1,9}) (second|minute|hour|day)s? ago$/.exec(text.trim());
  if (ago !== null) return nowMs - Number(ago[1]) * UNITS_MS[ago[2]!]!;
  const timeMs = RFC_3339.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (!Number.isNaN(timeMs)) return timeMs;
  throw new InvalidArgumentError('Want a time with its zone like 2026-03-01T14:03:00Z, or "2 hours ago".');
}
