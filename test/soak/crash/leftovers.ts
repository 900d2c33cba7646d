import { readFileSync } from 'node:fs';
import { mountsIn, processesOf } from '../../e2e/nodes.js';
import { type ClusterNode, waitFor } from '../../support/cluster.js';
import { flagsOn, isUnder, linksOf, usersOf } from '../../support/open-files.js';

/** What ends after others have, or is open for a moment, gets so long to be gone. */
const REST_LIMIT_MS = 30_000;
/** Descriptors of one process on one file: a file that is read may be open to be written too. */
const MAX_PER_FILE = 3;
/** Connections by which this process asks for /status, kept alive by its HTTP client. */
const MORE_SOCKETS = 4;

/** Looks whether anything is left behind: descriptors, processes, mounts. */
export class Leftovers {
  /** Descriptors that are on no file of the data folder, by role; of the keeper all. */
  readonly #atStart = new Map<string, { readonly others: number; readonly sockets: number }>();

  /** Everything is quiet: the counts now must not be more than the first time. */
  async check(who: string, node: ClusterNode): Promise<void> {
    let complaint: string | undefined;
    await waitFor(
      () => {
        complaint = this.#complaint(who, node);
        return complaint === undefined;
      },
      REST_LIMIT_MS,
      () => `nothing to be left behind: ${complaint}`,
    );
  }

  #complaint(who: string, node: ClusterNode): string | undefined {
    const mounts = mountsIn(node.dir);
    if (mounts.length !== 1) return `${mounts.length} mounts in ${node.dir}`;
    const family = new Set(processesOf(node));
    const stranger = usersOf(node.dir).find((pid) => !family.has(pid) && pid !== process.pid);
    if (stranger !== undefined) return `process ${stranger} (${nameOf(stranger)}) uses ${node.dir}`;
    const expected = who === 'replica' ? 3 : 2;
    if (family.size > expected) return `${family.size} processes of the ${who}: ${[...family].map(nameOf).join(', ')}`;
    return this.#tooMany(`${who}'s keeper`, linksOf(node.keeperPid()), '') ?? this.#tooManyOfNode(who, node);
  }

  #tooManyOfNode(who: string, node: ClusterNode): string | undefined {
    const links = linksOf(node.nodePid());
    const counts = new Map<string, number>();
    for (const link of links) if (isUnder(link, node.data)) counts.set(link, (counts.get(link) ?? 0) + 1);
    for (const [link, count] of counts) {
      if (link.endsWith(' (deleted)')) return `${link} is open in the ${who}'s node (${flagsOn(node.nodePid(), link)})`;
      if (count > MAX_PER_FILE) return `${link} is open ${count} times in the ${who}'s node`;
    }
    return this.#tooMany(`${who}'s node`, links, node.data);
  }

  #tooMany(who: string, links: readonly string[], except: string): string | undefined {
    const counted = except === '' ? links : links.filter((link) => !isUnder(link, except));
    // libuv's one for the watches of its loop, from the first on.
    const inotify = counted.filter((link) => link === 'anon_inode:inotify').length;
    if (inotify > 1) return `${inotify} inotify descriptors of the ${who}`;
    const sockets = counted.filter((link) => link.startsWith('socket:')).length;
    const others = counted.length - sockets - inotify;
    const first = this.#atStart.get(who);
    if (first === undefined) this.#atStart.set(who, { others, sockets });
    else if (others > first.others || sockets > first.sockets + MORE_SOCKETS) {
      const before = `${first.others} descriptors and ${first.sockets} sockets at the start`;
      return `${others} and ${sockets} of the ${who}, ${before}: ${counted.join(', ')}`;
    }
    return undefined;
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'gone';
  }
}
