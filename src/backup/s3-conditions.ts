import type { SluiceError } from '../errors.js';
import { isUnknownCondition } from './s3-errors.js';
import { unfencedError } from './store.js';

export type ConditionalWrite = 'PutObject' | 'CompleteMultipartUpload';

/** One write, in the two ways there are. */
export interface GuardedWrite<T> {
  /** With the condition: If-None-Match or If-Match. */
  guarded(): Promise<T>;
  /** Throws if the condition does not hold now. */
  look(): Promise<void>;
  plain(): Promise<T>;
}

/**
 * What is known of how a server takes conditions. Backblaze B2 refuses requests that have one, Google Cloud Storage passes
 * over them: there a look before the write has to do, between which and the write another writer may come.
 */
export class S3Conditions {
  private readonly unheeded = new Set<ConditionalWrite>();
  /** Whether the server was tried out, or is being. */
  probed = false;

  constructor(private readonly url: string) {}

  async write<T>(kind: ConditionalWrite, write: GuardedWrite<T>): Promise<T> {
    if (this.heeds(kind)) {
      try {
        return await write.guarded();
      } catch (error) {
        if (!isUnknownCondition(error)) throw error;
      }
    }
    await write.look();
    const written = await write.plain();
    // Only now is it certain that it was the condition that the server did not know.
    this.unheeded.add(kind);
    return written;
  }

  heeds(kind: ConditionalWrite): boolean {
    return !this.unheeded.has(kind);
  }

  /** The server carried a write out though its condition did not hold. */
  noteIgnored(): void {
    this.unheeded.add('PutObject').add('CompleteMultipartUpload');
  }

  /** `STORE_UNFENCED` where a write may take another's place. */
  get warning(): SluiceError | undefined {
    return this.unheeded.size === 0 ? undefined : unfencedError(this.url, 'the server knows no conditional writes');
  }
}
