import { parentPort, workerData } from 'node:worker_threads';
import { DEFER, type FileNode, PROCEED, serveMount, type Verdict } from '../../../src/fuse/index.js';
import { mustKnow, PassiveWatcher } from './passive-watcher.js';

/** One mount of the test server. */
export interface ServerMount {
  readonly path: string;
  readonly backing: string;
  readonly run: string;
  readonly locks: 'kernel' | 'sluice';
  readonly takeover: boolean;
  readonly wakeups: 'auto' | 'always' | 'off';
  readonly slowSync?: { readonly suffix: string; readonly delayMs: number };
  readonly maxOpenFiles?: number;
  readonly maxDeferred?: number;
}

export interface ServerWorkerData {
  readonly mount: ServerMount;
  readonly deviceFd: number;
  readonly shared: SharedArrayBuffer;
  /** Word 0: how many writes to `deferred*` files may go on. */
  readonly control: SharedArrayBuffer;
}

const { mount, deviceFd, shared, control } = workerData as ServerWorkerData;
const words = new Int32Array(control);

/** Defers writes to files named `deferred*` until the main thread allows them; has virtual files at the top. */
class TestWatcher extends PassiveWatcher {
  override mayWrite(node: FileNode): Verdict {
    mustKnow(node);
    if (!node.path.startsWith('deferred')) return PROCEED;
    if (Atomics.load(words, 0) > 0) {
      Atomics.sub(words, 0, 1);
      return PROCEED;
    }
    return DEFER;
  }

  override mayUnlink(node: FileNode): Verdict {
    return node.path === 'keep-me' ? 30 : PROCEED;
  }

  override virtual(path: string): Buffer | undefined {
    return path === '.primary' && Atomics.load(words, 1) > 0 ? Buffer.from(`epoch ${words[1]}\n`) : undefined;
  }

  override hidden(name: string): boolean {
    return name.startsWith('.hidden');
  }

  override woken(): void {
    Atomics.add(words, 2, 1);
  }
}

serveMount({
  ...mount,
  deviceFd,
  shared,
  watcher: new TestWatcher(),
  log: (message) => parentPort?.postMessage(message),
});
