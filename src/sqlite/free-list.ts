/**
 * The leaves of a database's free list: pages whose bytes mean nothing, and which SQLite keeps no copy of in its journal when
 * it writes them. https://www.sqlite.org/fileformat2.html#the_freelist. `read` has the image of a page; `pages`: how many there are.
 */
export function freeLeaves(read: (pgno: number) => Buffer, pages: number): Set<number> {
  const leaves = new Set<number>();
  const trunks = new Set<number>();
  for (let trunk = read(1).readUInt32BE(32); trunk > 0 && trunk <= pages && !trunks.has(trunk); ) {
    trunks.add(trunk);
    const page = read(trunk);
    const count = Math.min(page.readUInt32BE(4), page.length / 4 - 2);
    for (let i = 0; i < count; i++) leaves.add(page.readUInt32BE(8 + 4 * i));
    trunk = page.readUInt32BE(0);
  }
  return leaves;
}
