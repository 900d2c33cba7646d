import { type FileNode, PROCEED, type Verdict, type Watcher } from '../../../src/fuse/index.js';

const NONE: readonly number[] = [];

/** Lets everything happen. */
export class PassiveWatcher implements Watcher {
  added(_node: FileNode, _created: boolean): void {}
  removed(_node: FileNode): void {}
  renamed(_node: FileNode, _oldPath: string): void {}
  mayOpen(_node: FileNode, _flags: number, _pid: number): Verdict {
    return PROCEED;
  }
  mayCreate(_path: string, _pid: number): Verdict {
    return PROCEED;
  }
  mayWrite(_node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, _pid: number): Verdict {
    return PROCEED;
  }
  wrote(_node: FileNode, _position: number, _data: Buffer, _start: number, _length: number, _pid: number): void {}
  mayResize(_node: FileNode, _size: number, _pid: number): Verdict {
    return PROCEED;
  }
  resized(_node: FileNode, _size: number, _pid: number): void {}
  mayUnlink(_node: FileNode, _pid: number): Verdict {
    return PROCEED;
  }
  mayRename(_oldPath: string, _newPath: string, _replaced: FileNode | undefined, _pid: number): Verdict {
    return PROCEED;
  }
  mayChange(_path: string, _pid: number): Verdict {
    return PROCEED;
  }
  released(_node: FileNode, _wrote: boolean): void {}
  alsoSync(_node: FileNode): readonly number[] {
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
