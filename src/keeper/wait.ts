/** Waits for the first of the promises, `limitMs` at most. True when one of them was first, false after the limit. */
export async function within(limitMs: number, ...promises: readonly Promise<unknown>[]): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, limitMs, false);
  });
  try {
    return await Promise.race([...promises.map((promise) => promise.then(() => true)), limit]);
  } finally {
    clearTimeout(timer);
  }
}
