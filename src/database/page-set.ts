/** A growing set of page numbers: a bit each, plus the list while it is short. */
export class PageSet {
  private bits = new Uint8Array(1024);
  size = 0;
  private highest = 0;

  add(pageNumber: number): void {
    const index = pageNumber >>> 3;
    if (index >= this.bits.length) this.grow(index + 1);
    const mask = 1 << (pageNumber & 7);
    if ((this.bits[index]! & mask) !== 0) return;
    this.bits[index]! |= mask;
    this.size++;
    if (pageNumber > this.highest) this.highest = pageNumber;
  }

  has(pageNumber: number): boolean {
    const index = pageNumber >>> 3;
    return index < this.bits.length && (this.bits[index]! & (1 << (pageNumber & 7))) !== 0;
  }

  /** The numbers in ascending order. */
  toArray(): Uint32Array<ArrayBuffer> {
    const pages = new Uint32Array(this.size);
    let n = 0;
    const bytes = (this.highest >>> 3) + 1;
    for (let index = 0; index < bytes; index++) {
      const byte = this.bits[index]!;
      if (byte === 0) continue;
      for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) pages[n++] = index * 8 + bit;
    }
    return pages;
  }

  clear(): void {
    this.bits.fill(0, 0, (this.highest >>> 3) + 1);
    this.size = 0;
    this.highest = 0;
  }

  private grow(bytes: number): void {
    const bits = new Uint8Array(Math.max(bytes, this.bits.length * 2));
    bits.set(this.bits);
    this.bits = bits;
  }
}
