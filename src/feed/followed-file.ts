import { closeSync, existsSync, fstatSync, openSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Applier } from '../apply/index.js';
import { type CheckedDatabase, checkImage, checkTransaction, readDatabaseFile } from '../database/index.js';
import type { LargeReceiver, Standing, StoreSink } from '../database/types.js';
import { SluiceError } from '../errors.js';
import { type ByteSource, DatabaseSums, fileSource, type Position, ZERO_POSITION } from '../ltx/index.js';
import { PositionFile } from './position-file.js';

/** What is known of the file beside its path: as of the last position. */
interface State extends CheckedDatabase {
  readonly origin: bigint;
}

/**
 * One plain database file that follows a store. It is changed as an application would change it, by SQLite's own locks and
 * transactions (the applier), so that others can read it meanwhile. A position is written down before the file goes there:
 * whatever happens, the file's content is that of a position that is written down.
 */
export class FollowedFile implements StoreSink {
  readonly name: string;
  private state: State | undefined;
  private readonly spooled: string;

  private constructor(
    readonly path: string,
    private readonly applier: Applier,
    private readonly positionFile: PositionFile,
    private readonly onMove: (position: Position) => void,
  ) {
    this.name = basename(path);
    this.spooled = join(dirname(path), `.sluice-following-${this.name}`);
  }

  /**
   * Opens what is there, and goes on from it. Throws `RESTORE_EXISTS` where a file is in the way that followed no store, and
   * `FOLLOW_CHANGED` for one that others wrote to; with `force` what the store has takes its place.
   */
  static async open(
    path: string,
    applier: Applier,
    options: { readonly force: boolean; readonly onMove: (position: Position) => void },
  ): Promise<FollowedFile> {
    const positionFile = new PositionFile(path);
    const file = new FollowedFile(path, applier, positionFile, options.onMove);
    rmSync(file.spooled, { force: true });
    if (!existsSync(path)) return file;
    if (options.force && !positionFile.exists) return file;
    if (!positionFile.exists) {
      throw new SluiceError(
        'RESTORE_EXISTS',
        `${path} exists, and follows no store`,
        'Choose another path with -o, or replace it with --force',
      );
    }
    await applier.open(file.name);
    const found = await readDatabaseFile(path);
    const position = positionFile.find(found.sums.checksum());
    if (position !== undefined) {
      file.state = { name: file.name, ...found, position, origin: positionFile.origin };
    } else if (!options.force) {
      throw new SluiceError(
        'FOLLOW_CHANGED',
        `${path} is not what was written to it last: others changed it, or a power loss did`,
        'What the store has takes its place with --force; copy it first if it is to be kept',
      );
    }
    return file;
  }

  get position(): Position {
    return this.state?.position ?? ZERO_POSITION;
  }

  positions(): ReadonlyMap<string, Position> {
    return new Map(this.state === undefined ? [] : [[this.name, this.state.position]]);
  }

  standing(): Standing | undefined {
    const { state } = this;
    return state && { position: state.position, isKnown: true, isStray: false, origin: state.origin };
  }

  confirm(_name: string, position: Position, origin: bigint): void {
    if (this.state === undefined || this.state.origin === origin) return;
    this.positionFile.write(position, origin, false);
    this.state = { ...this.state, origin };
  }

  receiveStored(_name: string, run: bigint): LargeReceiver {
    return this.spool((source, size) => this.apply(source, size, run));
  }

  /** It is a copy of what a store has, or had: nothing of it is kept. */
  receiveStoredSnapshot(_name: string, _reason: string, run: bigint): LargeReceiver {
    return this.spool((source, size) => this.replace(source, size, run));
  }

  private async apply(source: ByteSource, size: number, origin: bigint): Promise<Position> {
    const { name } = this;
    const before = this.state ?? {
      name,
      position: ZERO_POSITION,
      pageSize: 0,
      pageCount: 0,
      sums: new DatabaseSums(512),
    };
    const { header, checksum, takeSums } = await checkTransaction(before, true, source, true);
    const position = { txid: header.maxTxid, checksum };
    this.positionFile.write(position, origin, false);
    await this.applier.apply(name, { kind: 'file', path: this.spooled, offset: 0, size });
    const sums = takeSums();
    return this.moveTo({ name, position, pageSize: header.pageSize, pageCount: header.commit, sums, origin });
  }

  private async replace(source: ByteSource, size: number, origin: bigint): Promise<Position> {
    const { name } = this;
    const { header, checksum, sums } = await checkImage(name, source, true);
    const position = { txid: header.maxTxid, checksum };
    this.positionFile.write(position, origin, this.state === undefined);
    await this.applier.replace(name, { kind: 'file', path: this.spooled, offset: 0, size });
    return this.moveTo({ name, position, pageSize: header.pageSize, pageCount: header.commit, sums, origin });
  }

  private moveTo(state: State): Position {
    this.state = state;
    this.onMove(state.position);
    return state.position;
  }

  private spool(finish: (source: ByteSource, size: number) => Promise<Position>): LargeReceiver {
    const fd = openSync(this.spooled, 'w+');
    let size = 0;
    const end = () => {
      closeSync(fd);
      rmSync(this.spooled, { force: true });
    };
    return {
      write: async (chunk) => {
        for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done, chunk.length - done, size + done);
        size += chunk.length;
      },
      finish: async () => {
        try {
          return await finish(fileSource(fd, 0, fstatSync(fd).size), size);
        } finally {
          end();
        }
      },
      abort: async () => end(),
    };
  }
}
