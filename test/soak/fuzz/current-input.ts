import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/**
 * The file in which the fuzzing process leaves each input before it runs, for the one that watches it:
 *
 *   0 f64 inputs so far   8 u32 bytes of the input   12 the input
 */
const HEAD_BYTES = 12;

export interface CurrentInput {
  readonly count: number;
  readonly input: Buffer;
}

export class CurrentInputWriter {
  private readonly fd: number;
  private readonly bytes = Buffer.alloc(1 << 20);
  private count = 0;

  constructor(path: string) {
    this.fd = openSync(path, 'w');
  }

  write(input: Uint8Array): void {
    const whole = Math.min(input.length, this.bytes.length - HEAD_BYTES);
    this.bytes.writeDoubleLE(++this.count, 0);
    this.bytes.writeUInt32LE(whole, 8);
    this.bytes.set(input.subarray(0, whole), HEAD_BYTES);
    writeSync(this.fd, this.bytes, 0, HEAD_BYTES + whole, 0);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Undefined before the first. */
export function readCurrentInput(path: string): CurrentInput | undefined {
  const bytes = readFileSync(path);
  if (bytes.length < HEAD_BYTES) return undefined;
  return { count: bytes.readDoubleLE(0), input: bytes.subarray(HEAD_BYTES, HEAD_BYTES + bytes.readUInt32LE(8)) };
}
