import type { Store } from '../../src/backup/index.js';

export interface CountedStore extends Store {
  readonly requests: { manifest: number; list: number; listAll: number; get: number };
}

/** The same store; counts what is read from it. */
export function countRequests(store: Store): CountedStore {
  const requests = { manifest: 0, list: 0, listAll: 0, get: 0 };
  return {
    requests,
    url: store.url,
    list(range) {
      requests.list++;
      return store.list(range);
    },
    listAll() {
      requests.listAll++;
      return store.listAll();
    },
    get(file, range) {
      requests.get++;
      return store.get(file, range);
    },
    read(file, offsetBytes, target) {
      requests.get++;
      return store.read(file, offsetBytes, target);
    },
    readManifest(known) {
      requests.manifest++;
      return store.readManifest(known);
    },
    put: (file, body) => store.put(file, body),
    delete: (files) => store.delete(files),
    setAside: (file) => store.setAside(file),
    writeManifest: (bytes, previous) => store.writeManifest(bytes, previous),
  };
}
