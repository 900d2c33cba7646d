import {
  type Checksum,
  type ChecksumHalves,
  DatabaseSums,
  formatChecksum,
  formatTxid,
  isSnapshot,
  joinChecksum,
  type LtxHeader,
  LtxStreamDecoder,
  lockPage,
  pageChecksum,
  type Txid,
} from '../ltx/index.js';
import type { FileKey } from './file-names.js';
import { PageRecords } from './page-records.js';

/** States of the database that are held at a time, 8 bytes a page each: the leading one, and whole databases that one step passes by. */
const STATES_LIMIT = 8;

/** The checksums of a database's pages after a transaction. */
export interface State {
  readonly sums: DatabaseSums;
  readonly commit: number;
  readonly txid: Txid;
}

/** What was found of one file, whose own checksums are right. */
export interface CheckedFile {
  readonly header: LtxHeader;
  /** The database's checksum after it: as it names it, else as it was found, else 0n. */
  readonly checksum: Checksum;
  /** The format's own checksum after it, if it has one. */
  readonly standardPostApply: Checksum | undefined;
  /** It names the database's checksum. */
  readonly named: boolean;
  /** How many states there were to check it against; 0: only what it says of itself is known. */
  readonly states: number;
  /** Those that it does not fit. */
  readonly flaws: readonly Flaw[];
}

/** A state and a file that do not fit each other. */
export interface Flaw {
  readonly message: string;
  /** The file says that it follows another state: it is of another history. */
  readonly link: boolean;
  /** The whole database that the state is, where others say that it is the state that is wrong; else it is the file. */
  readonly image: FileKey | undefined;
}

/** A file that cannot be what its name says. */
export class UnfitError extends Error {}

/**
 * States of a database by the checksums of its pages, without a page of it, and what files make of them. One state leads;
 * others are whole databases that it has not come to, or has passed.
 */
export class VerifyWays {
  private leader: Way | undefined;
  private others: Way[] = [];
  /** Files that are right and lead further than the leading state. */
  private steps: Step[] = [];

  /** Where the files lead that were found right. */
  get newest(): State | undefined {
    return [this.leader, ...this.others].reduce<Way | undefined>((best, way) => {
      return best === undefined || (way !== undefined && way.txid > best.txid) ? way : best;
    }, undefined);
  }

  /** Where the files end that lead further than the leading state. */
  get ends(): Txid[] {
    return this.steps.map(({ header }) => header.maxTxid);
  }

  /** Begins a file. */
  file(file: FileKey): FileCheck {
    return new FileCheck(file, [...(this.leader === undefined ? [] : [this.leader]), ...this.others]);
  }

  /** Keeps what a file made that was read: a state, or a step. */
  take(check: FileCheck): void {
    if (check.image !== undefined) this.others.push(check.image);
    if (check.step !== undefined) this.steps.push(check.step);
    this.others = this.others.filter((way) => !check.strays.includes(way));
  }

  /**
   * After all files that begin at or before the TXID behind `seen`: the leading state goes on until it is at `until`, or as
   * far as it can. Returns where it is.
   */
  advance(seen: Txid, until: Txid): Txid {
    let stuck = false;
    while (!stuck && (this.leader?.txid ?? 0) < until) {
      const step = this.chooseStep();
      if (step === undefined) stuck = true;
      else this.leader!.take(step);
    }
    const { leader } = this;
    if (leader === undefined) return 0;
    this.steps = this.steps.filter(({ header }) => header.maxTxid > leader.txid);
    // What has met all files that can be checked against it, and is behind, has done its part.
    this.others = this.others.filter((way) => way.txid > Math.min(seen, leader.txid) && way.txid !== leader.txid);
    this.limitStates(stuck);
    return this.leader!.txid;
  }

  /** The leader's; if it cannot go on, that of the nearest state ahead of it that can, which leads then. */
  private chooseStep(): Step | undefined {
    const own = this.leader && this.smallestStep(this.leader);
    if (own !== undefined) return own;
    const reached = this.leader?.txid ?? 0;
    const ahead = this.others.filter((way) => way.txid > reached).sort((a, b) => a.txid - b.txid);
    const next = ahead.find((way) => this.smallestStep(way) !== undefined) ?? (reached === 0 ? ahead[0] : undefined);
    if (next === undefined) return undefined;
    this.others = this.others.filter((way) => way !== next);
    this.leader = next;
    return this.smallestStep(next);
  }

  private smallestStep(way: Way): Step | undefined {
    let smallest: Step | undefined;
    for (const step of this.steps) {
      const { maxTxid } = step.header;
      if (smallest !== undefined && smallest.header.maxTxid <= maxTxid) continue;
      if (way.takes(step)) smallest = step;
    }
    return smallest;
  }

  private limitStates(stuck: boolean): void {
    const excess = this.others.length + 1 - STATES_LIMIT;
    if (excess <= 0) return;
    this.others.sort((a, b) => a.txid - b.txid);
    // A leader that is stuck stays so: then the newest are the ones to go on from.
    if (stuck) this.leader = this.others.splice(0, excess).at(-1)!;
    else this.others.splice(-excess);
  }
}

/** The pages of a file that is right, and the database's checksum after it. */
interface Step {
  readonly header: LtxHeader;
  readonly pages: PageRecords;
  readonly checksum: Checksum;
}

class Way implements State {
  constructor(
    readonly sums: DatabaseSums,
    /** Pages of the database, the lock page too. */
    public commit: number,
    public txid: Txid,
    /** Where it began. */
    readonly image: FileKey,
  ) {}

  /** Whether it leads on from here. */
  takes({ header, pages, checksum }: Step): boolean {
    if (!canApply(this, header)) return false;
    const effect = new Effect(this, header);
    const sum: ChecksumHalves = { high: 0, low: 0 };
    pages.each((pgno, high, low) => {
      sum.high = high;
      sum.low = low;
      effect.page(pgno, sum);
    });
    return effect.flaw(header, checksum) === undefined;
  }

  take({ header, pages }: Step): void {
    this.sums.truncate(header.commit);
    pages.each((pgno, high, low) => this.sums.set(pgno, high, low));
    this.commit = header.commit;
    this.txid = header.maxTxid;
  }
}

/** Pages are whole, so a file may begin before the state that it is applied to. */
function canApply(way: Way, header: LtxHeader): boolean {
  return way.sums.pageSize === header.pageSize && header.minTxid <= way.txid + 1 && way.txid < header.maxTxid;
}

/** One file being read: what it makes of the states that it can be applied to. */
export class FileCheck {
  /** Of a whole database, once it was read. */
  image: Way | undefined;
  /** Of another file, if there is a state that it fits. */
  step: Step | undefined;
  /** States that the file shows to be wrong, since it fits the leading one. */
  strays: readonly Way[] = [];
  private readonly decoder: LtxStreamDecoder;
  private readonly sum: ChecksumHalves = { high: 0, low: 0 };
  private imageSums: DatabaseSums | undefined;
  private readonly effects: Effect[] = [];
  /** The first state at the very end of the file: its pages must be as they are in it. */
  private after: State | undefined;
  private differs = false;
  private readonly pages = new PageRecords();

  /** `ways`: the leading one first. */
  constructor(
    private readonly file: FileKey,
    private readonly ways: readonly Way[],
  ) {
    this.decoder = new LtxStreamDecoder({
      header: (header) => this.begin(header),
      page: (pgno, data) => this.page(pgno, data),
    });
  }

  /** Throws `LTX_*` and UnfitError. */
  push(chunk: Uint8Array): void {
    this.decoder.push(chunk);
  }

  /** After the last byte. Throws `LTX_*` and UnfitError. */
  end(): CheckedFile {
    const { header, postApply, standardPostApply } = this.decoder.end();
    const named = postApply !== 0n;
    if (this.imageSums !== undefined) {
      // The decoder has compared it with the checksum that is named.
      this.image = new Way(this.imageSums, header.commit, header.maxTxid, this.file);
      return { header, checksum: this.imageSums.checksum(), standardPostApply, named, states: 1, flaws: [] };
    }
    const right = this.effects.filter((effect) => effect.flaw(header, postApply) === undefined);
    const flaws = this.flaws(right, header, postApply);
    const checksum = named ? postApply : (right[0]?.checksum() ?? 0n);
    if (right.length > 0) this.step = { header, pages: this.pages, checksum };
    const states = this.effects.length + (this.after === undefined ? 0 : 1);
    return { header, checksum, standardPostApply, named, states, flaws };
  }

  private begin(header: LtxHeader): void {
    const { file } = this;
    if (header.minTxid !== file.minTxid || header.maxTxid !== file.maxTxid) {
      const found = `${formatTxid(header.minTxid)} to ${formatTxid(header.maxTxid)}`;
      throw new UnfitError(`its header is of other transactions, ${found}`);
    }
    if (isSnapshot(header)) {
      this.imageSums = new DatabaseSums(header.pageSize);
      return;
    }
    for (const way of this.ways) {
      if (canApply(way, header)) this.effects.push(new Effect(way, header));
      else if (way.txid === header.maxTxid && way.sums.pageSize === header.pageSize) this.after ??= way;
    }
    this.differs = this.after !== undefined && this.after.commit !== header.commit;
  }

  private page(pgno: number, data: Uint8Array): void {
    const { sum, imageSums, after } = this;
    pageChecksum(pgno, data, 0, data.length, sum);
    imageSums?.set(pgno, sum.high, sum.low);
    for (const effect of this.effects) effect.page(pgno, sum);
    if (this.effects.length > 0) this.pages.add(pgno, sum);
    if (after === undefined) return;
    this.differs ||= after.sums.getHigh(pgno) !== sum.high || after.sums.getLow(pgno) !== sum.low;
  }

  /** Where it fits one state and not another, it is that other that is wrong. */
  private flaws(right: readonly Effect[], header: LtxHeader, postApply: Checksum): Flaw[] {
    const wrong = this.effects.filter((effect) => !right.includes(effect));
    const leads = right.some(({ way }) => way === this.ways[0]);
    if (leads) this.strays = wrong.map(({ way }) => way);
    const flaws = wrong.map((effect) => ({
      message: effect.flaw(header, postApply)!,
      link: effect.isOfAnotherHistory,
      image: leads ? effect.way.image : undefined,
    }));
    if (!this.differs) return flaws;
    const message = `its pages are not those that the database has after TXID ${formatTxid(header.maxTxid)}`;
    return [...flaws, { message, link: false, image: undefined }];
  }
}

/** What a file makes of a state's checksum, without changing the state. */
class Effect {
  /** It follows the state directly, and says that it follows another one. */
  readonly isOfAnotherHistory: boolean;
  private high: number;
  private low: number;
  /** That the database grows by, and are not in the file. */
  private missingPages: number;

  constructor(
    readonly way: Way,
    header: LtxHeader,
  ) {
    const { sums } = way;
    const { commit, preApply } = header;
    const before = sums.checksum();
    this.isOfAnotherHistory = header.minTxid === way.txid + 1 && preApply !== 0n && preApply !== before;
    this.high = Number(before >> 32n) | 0;
    this.low = Number(before & 0xffffffffn) | 0;
    for (let pgno = commit + 1; pgno <= sums.pageCount; pgno++) this.takeOut(pgno);
    const lock = lockPage(sums.pageSize);
    const growth = Math.max(0, commit - sums.pageCount);
    this.missingPages = lock > sums.pageCount && lock <= commit ? growth - 1 : growth;
  }

  /** Why the file does not fit the state, once all its pages were seen; undefined if it does. */
  flaw(header: LtxHeader, postApply: Checksum): string | undefined {
    const at = `TXID ${formatTxid(this.way.txid)}`;
    if (this.isOfAnotherHistory) {
      const before = formatChecksum(this.way.sums.checksum());
      return `it follows a database with the checksum ${formatChecksum(header.preApply)}, but after ${at} it is ${before}`;
    }
    if (this.missingPages > 0) {
      return `${this.missingPages} of the ${header.commit} pages that the database has after it are in no file`;
    }
    if (postApply === 0n || this.checksum() === postApply) return undefined;
    const found = formatChecksum(this.checksum());
    return `with it, the database of ${at} has the checksum ${found} instead of ${formatChecksum(postApply)}`;
  }

  page(pgno: number, sum: ChecksumHalves): void {
    const isNew = pgno > this.way.sums.pageCount;
    if (isNew) this.missingPages--;
    else this.takeOut(pgno);
    this.high ^= sum.high;
    this.low ^= sum.low;
  }

  checksum(): Checksum {
    return joinChecksum(this.high, this.low);
  }

  private takeOut(pgno: number): void {
    this.high ^= this.way.sums.getHigh(pgno);
    this.low ^= this.way.sums.getLow(pgno);
  }
}
