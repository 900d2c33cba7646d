/** A program that was answered ESTALE asks again within this. */
const RETRY_MS = 50;

interface View {
  /** The kernel was told the size since it last read the content: what it has of that is thrown away. */
  fresh: boolean;
  freshMs: number;
  staleMs: number;
}

/**
 * Has the kernel ask for virtual files each time, though libfuse offers that (direct I/O, no time-outs) for all files of
 * a mount or for none.
 *
 * Their size is given as one byte too large. A read then comes back short, and the kernel takes the true size from that;
 * when it is told the size again it is another one, upon which it drops the pages that it has. And that it asks for
 * before each open, since the first try is answered ESTALE, upon which it looks the name up again by itself.
 */
export class VirtualViews {
  readonly #views = new Map<string, View>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The size to tell. */
  size(path: string, bytes: number): number {
    const view = this.#view(path);
    view.fresh = true;
    view.freshMs = this.#nowMs();
    return bytes + 1;
  }

  /** The content was read. */
  read(path: string): void {
    this.#view(path).fresh = false;
  }

  /** Whether an open may succeed; otherwise it is answered ESTALE, and tried again. */
  mayOpen(path: string): boolean {
    const view = this.#view(path);
    const nowMs = this.#nowMs();
    // Another may have read it in between: who was answered ESTALE is not answered so again.
    if (view.fresh || (nowMs - view.staleMs < RETRY_MS && view.freshMs >= view.staleMs)) return true;
    view.staleMs = nowMs;
    return false;
  }

  #view(path: string): View {
    let view = this.#views.get(path);
    if (view === undefined) {
      view = { fresh: false, freshMs: Number.NEGATIVE_INFINITY, staleMs: Number.NEGATIVE_INFINITY };
      this.#views.set(path, view);
    }
    return view;
  }
}
