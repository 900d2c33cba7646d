import { type FileNode, PROCEED, type Verdict, type Watcher } from '../../../src/fuse/index.js';

const NONE: readonly number[] = [];
const KNOWN = 'known';

export function mustKnow(node: FileNode): void {
  if (node.tag === undefined) throw new TypeError(`the watcher was never told of ${node.path}`);
}

/** Lets everything happen; only to files that it was told of, as `Watcher` promises. */
export class PassiveWatcher implements Watcher {
  added(node: FileNode, _created: boolean): void {
    node.tag = KNOWN;
  }
  removed(_node: FileNode): void {}
  renamed(_node: FileNode, _oldPath: string): void {}
  mayOpen(node: FileNode, _flags: number, _pid: number): Verdict {
    mustKnow(node);
    return PROCEED;
  }
  mayCreate(_path: string, _pid: number): Verdict {
    return PROCEED;
  }
  mayWrite(node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, _pid: number): Verdict {
    mustKnow(node);
    return PROCEED;
  }
  wrote(node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, _pid: number): void {
    mustKnow(node);
  }
  mayResize(node: FileNode, _size: number, _pid: number): Verdict {
    mustKnow(node);
    return PROCEED;
  }
  resized(node: FileNode, _size: number, _pid: number): void {
    mustKnow(node);
  }
  mayUnlink(node: FileNode, _pid: number): Verdict {
    mustKnow(node);
    return PROCEED;
  }
  mayRename(_oldPath: string, _newPath: string, _replaced: FileNode | undefined, _pid: number): Verdict {
    return PROCEED;
  }
  maySetAttributes(_path: string, _pid: number): Verdict {
    return PROCEED;
  }
  mayChange(_path: string, _pid: number): Verdict {
    return PROCEED;
  }
  released(node: FileNode, _wrote: boolean): void {
    mustKnow(node);
  }
  alsoSync(node: FileNode): readonly number[] {
    mustKnow(node);
    return NONE;
  }
  alsoSyncFolder(_path: string): readonly number[] {
    return NONE;
  }
  virtual(_path: string): Buffer | undefined {
    return undefined;
  }
  hidden(_name: string): boolean {
    return false;
  }
  woken(): void {}
}
