import { abortMount, tryUnmount, unmount } from '../fuse/mount.js';
import { findHolders } from './holders.js';
import { BUSY_LIMIT_MS, BUSY_RETRY_MS } from './limits.js';
import { HASTEN, type StopRequest } from './stop-request.js';
import { within } from './wait.js';

/**
 * Unmounts as soon as no application has anything open there; says who has. Returns after the limit, or when the stop
 * is hastened, also if it is still mounted: then it has to be taken away.
 */
export async function unmountGently(
  path: string,
  stop: StopRequest,
  except: ReadonlySet<number>,
  report: (message: string) => void,
): Promise<void> {
  const untilMs = performance.now() + BUSY_LIMIT_MS;
  let reported = false;
  while (!(await tryUnmount(path)) && stop.level < HASTEN && performance.now() < untilMs) {
    if (!reported) void busyMessage(path, except).then(report);
    reported = true;
    await within(BUSY_RETRY_MS, stop.reached(HASTEN));
  }
}

/**
 * Removes a mount whatever uses it. Its connection is ended first: after a lazy unmount alone, who has files open could
 * go on writing to a node that has saved its last state.
 */
export async function takeAway(path: string): Promise<void> {
  abortMount(path);
  await unmount(path, 0);
}

async function busyMessage(path: string, except: ReadonlySet<number>): Promise<string> {
  const found = await findHolders(path, except);
  const holders = found.map(({ pid, name }) => `${name} (pid ${pid})`);
  const who = holders.length === 0 ? 'a process' : holders.join(', ');
  return `${path} is in use by ${who}; waiting ${BUSY_LIMIT_MS / 1000} s for it to end. Ctrl-C takes the mount away now`;
}
