/** Memory for WAL frames on their way to the log, shared by all databases since it is used within one turn. */
export class FrameBuffer {
  bytes = Buffer.alloc(0);

  reserve(size: number): Buffer {
    if (this.bytes.length < size) this.bytes = Buffer.allocUnsafeSlow(size);
    return this.bytes;
  }
}
