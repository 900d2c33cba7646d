import { readFileSync } from 'node:fs';
import type { ClusterNode } from '../../support/cluster.js';
import { Application, type ApplicationOptions } from './application.js';

export interface Workload {
  /** The databases' names begin with it: letters only. */
  readonly name: string;
  readonly run: (on: { readonly node: ClusterNode; readonly trace: string; readonly times: number }) => Promise<void>;
}

const wal = { journal: 'wal', synchronous: 'FULL', promise: 'commit', autoCheckpoint: 12 } as const;
const rollback = { synchronous: 'FULL', promise: 'commit' } as const;

/** What is recorded; `times` makes each longer. */
export const WORKLOADS: readonly Workload[] = [
  simple('walfull', wal, checkpoints),
  simple('walnormal', { ...wal, synchronous: 'NORMAL', promise: 'checkpoint' }, checkpoints),
  simple('delete', { journal: 'delete', ...rollback, promise: 'folder' }, (app) => app.vacuum()),
  simple('extra', { journal: 'delete', ...rollback, synchronous: 'EXTRA' }, (app) => app.vacuum()),
  simple('truncate', { journal: 'truncate', ...rollback }, (app) => app.vacuum()),
  simple('persist', { journal: 'persist', ...rollback }, (app) => app.vacuum()),
  simple('bigwal', { ...wal, big: 1, cacheSize: 12, autoCheckpoint: 80 }, (app) => app.vacuum().commit(2)),
  simple('bigdelete', { journal: 'delete', ...rollback, synchronous: 'EXTRA', big: 1, cacheSize: 12 }, (app) =>
    app.vacuum().commit(2),
  ),
  {
    name: 'modes',
    async run({ node, trace, times }) {
      const delete_ = { journal: 'delete', synchronous: 'EXTRA', promise: 'commit' } as const;
      const app = new Application(node, trace, 'modes.db', delete_).make().commit(2);
      for (let i = 0; i < times; i++) {
        app.close().open(wal).commit(3).close().open(delete_).commit(2);
        app.db.pragma(`page_size = ${i % 2 === 0 ? 1024 : 4096}`);
        app
          .vacuum()
          .commit(2)
          .close()
          .open({ journal: 'persist', ...rollback })
          .commit(2)
          .close()
          .open(delete_)
          .commit(1);
      }
      app.close();
    },
  },
  {
    name: 'drop',
    async run({ node, trace, times }) {
      for (const options of [{ journal: 'delete', ...rollback, promise: 'folder' }, wal] as const) {
        const app = new Application(node, trace, `drop${options.journal}.db`, options);
        for (let i = 0; i < times; i++) {
          app.make().commit(4).drop();
          app
            .make({ ...options, pageSize: 1024 })
            .commit(3)
            .close()
            .open()
            .commit(1)
            .drop();
        }
      }
    },
  },
  {
    name: 'pair',
    async run({ node, trace, times }) {
      const options = { journal: 'delete', ...rollback, synchronous: 'EXTRA' } as const;
      const [a, b] = ['pairone.db', 'pairtwo.db'].map((name) => new Application(node, trace, name, options)) as [
        Application,
        Application,
      ];
      a.make().commit(2);
      b.make().commit(2).close();
      a.db.prepare('ATTACH ? AS other').run(node.path(b.name));
      a.db.pragma('other.synchronous = EXTRA');
      for (let i = 0; i < 4 * times; i++) {
        a.n++;
        b.n++;
        a.mark('begun');
        b.mark('begun');
        a.commitBoth(b);
        a.mark('committed');
        b.mark('committed');
      }
      a.close();
    },
  },
  {
    name: 'killed',
    async run({ node, trace, times }) {
      for (const options of [wal, { journal: 'delete', ...rollback, synchronous: 'EXTRA' }] as const) {
        const app = new Application(node, trace, `killed${options.journal}.db`, options).make().commit(3);
        for (let i = 0; i < times; i++) {
          const pid = node.nodePid();
          app.begin();
          process.kill(pid, 'SIGKILL');
          app.end();
          app.commit(2);
          // The keeper's next one is ready before it is killed too.
          await node.ready();
          if (readFileSync(`${node.data}/node.pid`, 'utf8').trim() === String(pid)) throw new Error('the node lives');
        }
        app.close();
      }
    },
  },
  {
    name: 'stopped',
    async run({ node, trace, times }) {
      const apps = [
        wal,
        { ...wal, synchronous: 'NORMAL', promise: 'checkpoint' },
        { journal: 'truncate', ...rollback },
      ].map((options, i) =>
        new Application(node, trace, `stopped${'abc'[i]}.db`, options as ApplicationOptions).make(),
      );
      for (let i = 0; i < times; i++) {
        for (const app of apps) app.commit(3).close();
        const end = await node.stop();
        if (end !== 0) throw new Error(`the node ended with ${end}`);
        await node.start();
        for (const app of apps) app.open().commit(3);
      }
      for (const app of apps) app.close();
    },
  },
];

/** A database that is filled, worked on, and closed and opened again. */
function simple(name: string, options: ApplicationOptions, work: (app: Application) => unknown): Workload {
  return {
    name,
    async run({ node, trace, times }) {
      const app = new Application(node, trace, `${name}.db`, options).make();
      for (let i = 0; i < times; i++) {
        app.commit(5);
        work(app);
        app.commit(2).close().open().commit(1);
      }
      app.close();
    },
  };
}

function checkpoints(app: Application): void {
  app.checkpoint('PASSIVE').commit(2).checkpoint('RESTART').commit(3).checkpoint('TRUNCATE').commit(2).vacuum();
  app.checkpoint('FULL').commit(1);
}
