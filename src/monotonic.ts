/** Milliseconds of the machine's monotonic clock: unlike `performance.now()` the same in all processes. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
