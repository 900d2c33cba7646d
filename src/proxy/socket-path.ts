import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { MAX_SOCKET_PATH_BYTES } from './limits.js';

export const SOCKET_NAME = 'node.sock';

/** A folder in which sockets can be bound and reached however long its path is. */
export class SocketFolder {
  #fd: number | undefined;

  constructor(readonly path: string) {}

  /** A path to a name in the folder that fits into a socket's address: by a descriptor of the folder, if nothing else does. */
  pathOf(name: string): string {
    const path = join(this.path, name);
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
    this.#fd ??= openSync(this.path, 'r');
    return `/proc/self/fd/${this.#fd}/${name}`;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
