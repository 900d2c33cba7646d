import { closeSync, existsSync, openSync } from 'node:fs';
import { errorCode } from '../errors.js';
import { type Finding, ok, warn } from './finding.js';
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
  const { idleUs, busyUs } = await measureRoundTrips();
  return [judgeWakeups(idleUs, busyUs, haltPollNs, device === undefined), ...(device === undefined ? [] : [device])];
}

/** `haltPollNs` is NaN where the kernel has no such setting. */
export function judgeWakeups(idleUs: number, busyUs: number, haltPollNs: number, canHold: boolean): Finding {
  const text = `a request to an idle thread takes ${Math.round(idleUs)} µs, to a busy one ${Math.round(busyUs)} µs`;
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
