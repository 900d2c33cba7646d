import type { Socket } from 'node:net';

/**
 * Tells when a socket has brought no byte for `silenceMs`. It counts checks, not time, so that a process that was
 * itself stopped for a while does not take the other side for dead before it has read what waits for it.
 */
export class SilenceWatch {
  private readonly maxChecks: number;
  private lastBytes = -1;
  private checks = 0;

  constructor(
    private readonly socket: Pick<Socket, 'bytesRead'>,
    checkEveryMs: number,
    silenceMs: number,
  ) {
    this.maxChecks = Math.max(2, Math.ceil(silenceMs / checkEveryMs));
  }

  /** To be called every `checkEveryMs`. */
  isSilent(): boolean {
    const { bytesRead } = this.socket;
    if (bytesRead !== this.lastBytes) {
      this.lastBytes = bytesRead;
      this.checks = 0;
      return false;
    }
    this.checks++;
    return this.checks >= this.maxChecks;
  }
}
