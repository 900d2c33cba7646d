import { DEFER, type FileNode, PROCEED, type Verdict } from '../../../src/fuse/index.js';
import { mustKnow, PassiveWatcher } from './passive-watcher.js';

/** Defers writes to files named `deferred*` until the main thread allows them; has virtual files at the top. */
export class TestWatcher extends PassiveWatcher {
  /** Word 0: how many writes to `deferred*` files may go on; 1: what `.primary` says; 2: counts wake-ups. */
  constructor(private readonly words: Int32Array) {
    super();
  }

  override mayWrite(node: FileNode): Verdict {
    mustKnow(node);
    if (!node.path.startsWith('deferred')) return PROCEED;
    if (Atomics.load(this.words, 0) > 0) {
      Atomics.sub(this.words, 0, 1);
      return PROCEED;
    }
    return DEFER;
  }

  override mayUnlink(node: FileNode): Verdict {
    return node.path === 'keep-me' ? 30 : PROCEED;
  }

  override virtual(path: string): Buffer | undefined {
    return path === '.primary' && Atomics.load(this.words, 1) > 0 ? Buffer.from(`epoch ${this.words[1]}\n`) : undefined;
  }

  override hidden(name: string): boolean {
    return name.startsWith('.hidden');
  }

  override woken(): void {
    Atomics.add(this.words, 2, 1);
  }
}
