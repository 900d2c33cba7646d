import { type Finding, ok, warn } from './finding.js';

const OBSERVED_MS = 500;
const MAX_DRIFT_MS = 20;
const YEARS = { from: 2024, to: 2100 } as const;

/** Whether the time of day is plausible and runs at the speed of the machine's steady clock. Lag and retention use it. */
export async function checkClock(): Promise<Finding[]> {
  const wallStartMs = Date.now();
  const steadyStartMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, OBSERVED_MS));
  const driftMs = Date.now() - wallStartMs - (performance.now() - steadyStartMs);
  return [judgeClock(new Date(), driftMs)];
}

/** `driftMs` is how much further than the steady clock the time of day went while it was observed. */
export function judgeClock(now: Date, driftMs: number): Finding {
  const text = now.toISOString();
  const year = now.getUTCFullYear();
  if (year < YEARS.from || year > YEARS.to)
    return warn('clock', `it says ${text}`, 'Set it: lag and retention are told by it');
  if (Math.abs(driftMs) > MAX_DRIFT_MS) {
    return warn(
      'clock',
      `it jumped by ${Math.round(driftMs)} ms while it was watched`,
      'Let one service (chrony, systemd-timesyncd) slew it',
    );
  }
  return ok('clock', `${text}, steady`);
}
