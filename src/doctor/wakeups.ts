import { closeSync, existsSync, openSync } from 'node:fs';
import { describeError, errorCode } from '../errors.js';
import { type Finding, ok, warn } from './finding.js';
import { measureMount } from './mount-probe.js';
import { measureRoundTrips } from './round-trip.js';
import { readText } from './system.js';

const DEVICE = '/dev/cpu_dma_latency';
const HALT_POLL = '/sys/module/haltpoll/parameters/guest_halt_poll_ns';
const WANTED_HALT_POLL_NS = 200_000;
/** An idle processor that takes longer to answer makes each commit several times slower. */
const SLOW_WAKEUP_US = 60;

/** How quickly an idle processor wakes up for a request, and what can be done about it. */
export async function checkWakeups(): Promise<Finding[]> {
  const device = checkDevice();
  const haltPollNs = Number(readText(HALT_POLL) ?? Number.NaN);
  const times = await measure();
  return [judgeWakeups(times, haltPollNs, device === undefined), ...(device === undefined ? [] : [device])];
}

/** What one request costs, microseconds, and to what it was made. */
export interface RequestTimes {
  readonly to: string;
  /** After a pause in which the processors went idle. */
  readonly idleUs: number;
  /** Right after another one. */
  readonly busyUs: number;
}

/** On a mount; where none can be made, between two threads, which is a part of it. */
async function measure(): Promise<RequestTimes> {
  if (process.geteuid?.() !== 0) return { to: 'a thread (only root can try a mount)', ...(await measureRoundTrips()) };
  try {
    return { to: 'a mount', ...(await measureMount()) };
  } catch (error) {
    return { to: `a thread (no mount could be tried: ${describeError(error)})`, ...(await measureRoundTrips()) };
  }
}

/** `haltPollNs` is NaN where the kernel has no such setting. */
export function judgeWakeups({ to, idleUs, busyUs }: RequestTimes, haltPollNs: number, canHold: boolean): Finding {
  const text = `a request to ${to} takes ${Math.round(idleUs)} µs after a pause, ${Math.round(busyUs)} µs after another`;
  if (idleUs <= SLOW_WAKEUP_US) return ok('wake-ups', text);
  if (haltPollNs < WANTED_HALT_POLL_NS) {
    return warn('wake-ups', text, `Let idle processors poll: echo ${WANTED_HALT_POLL_NS} > ${HALT_POLL}`);
  }
  if (canHold) return ok('wake-ups', `${text}; wakeups: auto keeps processors awake during bursts`);
  return warn('wake-ups', text, `Let the node open ${DEVICE}, which keeps processors awake during bursts`);
}

function checkDevice(): Finding | undefined {
  const hint = 'wakeups: auto has no effect: commits are slow while the machine is idle';
  if (!existsSync(DEVICE)) return warn('latency', `there is no ${DEVICE}`, hint);
  try {
    closeSync(openSync(DEVICE, 'r+'));
    return undefined;
  } catch (error) {
    return warn('latency', `${DEVICE} cannot be opened (${errorCode(error) ?? 'unknown error'})`, hint);
  }
}
