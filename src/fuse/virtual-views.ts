/** Who was answered ESTALE asks again within this, unless it was killed. */
const RETRY_MS = 1000;

interface View {
  /** The kernel was told the size since it last read the content: what it has of that is thrown away. */
  fresh: boolean;
  /** How long the content was that the kernel read last. */
  bytes: number;
  /** Threads that were answered ESTALE, and when. */
  readonly retrying: Map<number, number>;
}

/**
 * Has the kernel ask for virtual files each time, though libfuse offers that (direct I/O, no time-outs) for all files of
 * a mount or for none.
 *
 * Their size is given as a byte too large. A read then comes back short, and the kernel takes the true size from that;
 * when it is told the size again it is another one, upon which it drops the pages that it has. And that it asks for
 * before each open, since the first try is answered ESTALE, upon which it looks the name up again by itself.
 */
export class VirtualViews {
  readonly #views = new Map<string, View>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The size to tell, other than what the kernel has found out. */
  size(path: string, bytes: number): number {
    const view = this.#view(path);
    view.fresh = true;
    return bytes + 1 === view.bytes ? bytes + 2 : bytes + 1;
  }

  /** The content was read, which is so long now. */
  read(path: string, bytes: number): void {
    const view = this.#view(path);
    view.fresh = false;
    view.bytes = bytes;
  }

  /** Whether an open by this thread may succeed; otherwise it is answered ESTALE, and tried again. */
  mayOpen(path: string, pid: number): boolean {
    const { fresh, retrying } = this.#view(path);
    const nowMs = this.#nowMs();
    for (const [other, sinceMs] of retrying) if (nowMs - sinceMs > RETRY_MS) retrying.delete(other);
    // Another may have read it since this one had the size told: nobody is answered ESTALE twice.
    const isRetry = retrying.delete(pid);
    if (fresh || isRetry) return true;
    retrying.set(pid, nowMs);
    return false;
  }

  #view(path: string): View {
    let view = this.#views.get(path);
    if (view === undefined) {
      view = { fresh: false, bytes: 0, retrying: new Map() };
      this.#views.set(path, view);
    }
    return view;
  }
}
