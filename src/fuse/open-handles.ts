import type { Node } from './nodes.js';

/** An open file, as libfuse knows it by a number. */
export interface OpenHandle {
  readonly node: Node;
  /** Of open(2). */
  readonly flags: number;
}

/** Numbers from 1, each given again once it is free. */
export class OpenHandles {
  readonly #handles: (OpenHandle | undefined)[] = [undefined];
  readonly #free: number[] = [];

  add(handle: OpenHandle): number {
    const number = this.#free.pop() ?? this.#handles.length;
    this.#handles[number] = handle;
    return number;
  }

  get(number: number): OpenHandle | undefined {
    return this.#handles[number];
  }

  remove(number: number): OpenHandle | undefined {
    const handle = this.#handles[number];
    if (handle === undefined) return undefined;
    this.#handles[number] = undefined;
    this.#free.push(number);
    return handle;
  }
}
