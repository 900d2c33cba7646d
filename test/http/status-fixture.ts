import type { NodeStatus } from '../../src/status.js';

/** A primary with one database, one replica and one store. */
export const PRIMARY: NodeStatus = {
  version: '0.1.0',
  nodeId: '00c0ffee',
  role: 'primary',
  primary: 'ws://127.0.0.1:20203',
  ready: true,
  startedAt: '2026-01-02T03:04:05.000Z',
  mount: '/mnt/app',
  data: '/var/lib/sluice',
  locks: 'kernel',
  passthrough: true,
  requests: { LOOKUP: 3, WRITE: 12 },
  databases: [
    {
      name: 'app.db',
      state: 'ok',
      txid: '000000000000002a',
      checksum: '8000000000000001',
      pageSize: 4096,
      pageCount: 3,
      sizeBytes: 12_288,
      journalMode: 'wal',
      walBytes: 4152,
      lagMs: null,
      log: { first: '0000000000000001', last: '000000000000002a', bytes: 2048 },
      durability: {
        until: 'replicas',
        replicas: 1,
        onTimeout: 'degrade',
        degradedSince: null,
        refusingSince: null,
        waitingMs: null,
        degraded: 5,
        refused: 0,
      },
      writer: '0badcafe',
    },
  ],
  replicas: [
    {
      nodeId: '0badcafe',
      address: '127.0.0.1:5000',
      connectedAt: '2026-01-02T03:04:06.000Z',
      lagMs: 3,
      bufferedBytes: 17,
      databases: [{ name: 'app.db', txid: '0000000000000029', state: 'live' }],
    },
  ],
  upstream: null,
  backups: [
    {
      url: 'file:///backup',
      lastUploadAt: '2026-01-02T03:05:05.000Z',
      lastError: null,
      databases: [{ name: 'app.db', txid: '0000000000000028', lagMs: 900 }],
    },
  ],
  localFiles: ['notes.txt'],
  localFileCount: 1,
  problems: [],
};

/** A replica of it that is 3 ms behind. */
export const REPLICA: NodeStatus = {
  ...PRIMARY,
  nodeId: '0badcafe',
  role: 'replica',
  databases: PRIMARY.databases.map((db) => ({ ...db, lagMs: 3, durability: null, writer: null })),
  replicas: [],
  upstream: {
    url: 'ws://127.0.0.1:20203',
    connected: true,
    lastHeartbeatAt: '2026-01-02T03:05:05.000Z',
    lagMs: 2,
    lastError: null,
  },
  backups: [],
  localFiles: [],
  localFileCount: 0,
};
