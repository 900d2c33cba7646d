/** Who was answered ESTALE asks again within this, unless it was killed. */
const RETRY_MS = 1000;

interface View {
  /** What the kernel read last, and may still have; undefined before that. */
  read: Buffer | undefined;
  /** The content of which the kernel was told the size last. */
  told: Buffer | undefined;
  /** That size. */
  size: number;
  /** The kernel was told another size since it last read the content: what it had of that is thrown away. */
  fresh: boolean;
  /** Threads that were answered ESTALE, and when. */
  readonly retrying: Map<number, number>;
}

/**
 * Has the kernel ask for virtual files that have changed, though libfuse offers that (direct I/O, no time-outs) for all
 * files of a mount or for none.
 *
 * The size of what has changed is given too large. A read then comes back short, and the kernel takes the true size from
 * that, unless it was told a size meanwhile: then whoever reads has a zero at the end. When it is told another size than
 * it knows it drops the pages that it has. And that it asks for before an open of what has changed, since the first try is
 * answered ESTALE, upon which it looks the name up again by itself. Of what it has read already it is told the true size.
 */
export class VirtualViews {
  readonly #views = new Map<string, View>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The size to tell. */
  size(path: string, content: Buffer): number {
    const view = this.#view(path);
    const { length } = content;
    const known = [view.read?.length, view.size];
    view.told = content;
    if (view.read?.equals(content)) view.size = length;
    else {
      view.fresh = true;
      view.size = [length + 1, length + 2, length + 3].find((size) => !known.includes(size))!;
    }
    return view.size;
  }

  /** The kernel reads the content, which is this now. */
  read(path: string, content: Buffer): void {
    const view = this.#view(path);
    view.fresh = false;
    view.read = content;
  }

  /** Whether an open by this thread may succeed; otherwise it is answered ESTALE, and tried again. */
  mayOpen(path: string, pid: number, content: Buffer): boolean {
    const { told, size, fresh, retrying } = this.#view(path);
    const nowMs = this.#nowMs();
    for (const [other, sinceMs] of retrying) if (nowMs - sinceMs > RETRY_MS) retrying.delete(other);
    // Another may have read it since this one had the size told: nobody is answered ESTALE twice.
    const isRetry = retrying.delete(pid);
    if (isRetry || (told?.equals(content) && (fresh || size === content.length))) return true;
    retrying.set(pid, nowMs);
    return false;
  }

  #view(path: string): View {
    let view = this.#views.get(path);
    if (view === undefined) {
      view = { read: undefined, told: undefined, size: 0, fresh: false, retrying: new Map() };
      this.#views.set(path, view);
    }
    return view;
  }
}
