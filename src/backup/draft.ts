import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseImage } from './database-image.js';

/** A database file being made, under its temporary name. Its image is another one after `beginAnew`. */
export class Draft {
  /** Bytes read for the image. */
  readBytes = 0;
  private current: DatabaseImage;

  private constructor(private readonly handle: FileHandle) {
    this.current = new DatabaseImage(handle.fd);
  }

  /** Makes the file, and its folder if that is missing. */
  static async open(path: string): Promise<Draft> {
    await mkdir(dirname(path), { recursive: true });
    return new Draft(await open(path, 'w+'));
  }

  get image(): DatabaseImage {
    return this.current;
  }

  async beginAnew(): Promise<void> {
    await this.current.release();
    await this.handle.truncate();
    this.current = new DatabaseImage(this.handle.fd);
    this.readBytes = 0;
  }

  async sync(): Promise<void> {
    await this.handle.sync();
  }

  async close(): Promise<void> {
    try {
      await this.current.release();
    } finally {
      await this.handle.close();
    }
  }
}
