import { Counter, Gauge, Registry } from 'prom-client';
import { COUNT_NAMES, type ProxyCounts } from '../proxy/index.js';
import type { NodeState } from '../status.js';
import { lagOf } from './health.js';
import { LabelSet } from './label-set.js';
import { LagHistogram } from './lag-histogram.js';

/** What one database has done since the process started. */
interface Totals {
  transactions: number;
  pages: number;
  bytes: number;
}

/**
 * The node's counters, and the page of GET /metrics. What happens per transaction adds to plain numbers; the rest is
 * read from the node's status when the page is asked for.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #labels = new LabelSet();
  readonly #totals = new Map<string, Totals>();
  readonly #transactions = this.#counter('sluice_transactions_total', 'Committed or applied transactions', [
    'database',
  ]);
  readonly #pages = this.#counter('sluice_pages_total', 'Pages in those transactions', ['database']);
  readonly #bytes = this.#counter('sluice_ltx_bytes_total', 'Bytes of their LTX files', ['database']);
  readonly #uploads = this.#counter('sluice_backup_uploads_total', 'Files written to a store', ['store']);
  readonly #uploadedBytes = this.#counter('sluice_backup_uploaded_bytes_total', 'Bytes written to a store', ['store']);
  readonly #requests = this.#counter('sluice_fuse_requests_total', 'Requests of the kernel to the file system', [
    'operation',
  ]);
  readonly #errors = this.#counter('sluice_errors_total', 'Errors, by the part that met them', ['part']);
  readonly #proxied = this.#counter('sluice_proxy_requests_total', 'What became of the requests to the HTTP proxy', [
    'outcome',
  ]);
  readonly #late = this.#counter(
    'sluice_commits_late_total',
    'Commits that were not where durability wants them in time, by what came of it',
    ['database', 'outcome'],
  );
  readonly #forwarded = this.#counter(
    'sluice_forwarded_commits_total',
    'Commits of applications on a replica, by what became of them on the primary',
    ['database', 'outcome'],
  );
  readonly #halts = this.#counter(
    'sluice_halts_total',
    "Times that a replica got a database's write lock (given), and times that it was taken back",
    ['database', 'outcome'],
  );
  readonly #degraded = this.#gauge('sluice_durability_degraded', '1 while commits return without waiting', [
    'database',
  ]);
  readonly #nodeRole = this.#gauge('sluice_primary', '1 on the primary, 0 on a replica');
  readonly #ready = this.#gauge('sluice_ready', '1 when applications may use the mount');
  readonly #problems = this.#gauge('sluice_problems', 'Problems that /status shows');
  readonly #lag = this.#gauge('sluice_lag_seconds', 'How old what a replica shows is');
  readonly #txid = this.#gauge('sluice_database_txid', 'Last transaction of a database', ['database']);
  readonly #size = this.#gauge('sluice_database_size_bytes', 'Size of a database', ['database']);
  readonly #walBytes = this.#gauge('sluice_wal_bytes', 'Size of the WAL of a database', ['database']);
  readonly #logBytes = this.#gauge('sluice_log_bytes', 'Size of the log of a database', ['database']);
  readonly #replicas = this.#gauge('sluice_replicas', 'Replicas that are connected');
  readonly #buffered = this.#gauge('sluice_replica_buffered_bytes', 'Bytes that wait to be sent to a replica', [
    'replica',
  ]);
  readonly #replicaLag = this.#gauge('sluice_replica_lag_seconds', 'Lag of a connected replica', ['replica']);
  readonly #backupTxid = this.#gauge('sluice_backup_txid', 'Last transaction that a store has', ['store', 'database']);
  readonly #backupLag = this.#gauge('sluice_backup_lag_seconds', 'Age of what a store misses', ['store', 'database']);
  readonly #verifiedAt = this.#gauge(
    'sluice_backup_verified_timestamp_seconds',
    'When a backup was last restored on trial and found right, Unix time',
    ['store', 'database'],
  );
  readonly #verifySeconds = this.#gauge('sluice_backup_verify_seconds', 'How long the last trial restore took', [
    'store',
    'database',
  ]);
  readonly #verifyOk = this.#gauge('sluice_backup_verify_ok', '1 if the last trial restore was right, else 0', [
    'store',
    'database',
  ]);
  readonly #commitLag = new LagHistogram(
    'sluice_commit_to_replica_seconds',
    'From the commit on the primary to its visibility here',
  );

  // prom-client's own process metrics are not used: its event loop monitor would wake an idle machine every 10 ms.
  readonly #memory = this.#gauge('process_resident_memory_bytes', 'Resident memory of the node process');
  readonly #heap = this.#gauge('nodejs_heap_size_used_bytes', 'Used heap of the main thread');
  readonly #cpu = this.#gauge('process_cpu_seconds_total', 'CPU time of the node process');
  readonly #started = this.#gauge('process_start_time_seconds', 'Start of the node process, Unix time');

  /** Of the page. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** A transaction was captured (primary) or applied (replica). */
  transaction(database: string, pages: number, bytes: number): void {
    let totals = this.#totals.get(database);
    if (totals === undefined) totals = this.#newTotals(database);
    totals.transactions++;
    totals.pages += pages;
    totals.bytes += bytes;
  }

  /** On a replica: a transaction became visible so long after its commit. */
  visible(lagMs: number): void {
    this.#commitLag.observe(Math.max(lagMs, 0) / 1000);
  }

  /** What the HTTP proxy says that it has done since it started. */
  proxied(counts: ProxyCounts): void {
    this.#proxied.reset();
    for (const outcome of COUNT_NAMES) this.#proxied.inc({ outcome }, counts[outcome] ?? 0);
  }

  /** A commit returned, or failed, since others did not have it in time. */
  late(database: string, outcome: 'degraded' | 'refused'): void {
    this.#late.inc({ database: this.#labels.of('database', database), outcome });
  }

  /** A commit of an application of this replica was decided, or was given up. */
  forwarded(database: string, outcome: 'taken' | 'refused' | 'unknown'): void {
    this.#forwarded.inc({ database: this.#labels.of('database', database), outcome });
  }

  /** A replica got the write lock of a database of this primary, or it was taken back. */
  halted(database: string, outcome: 'given' | 'taken-back'): void {
    this.#halts.inc({ database: this.#labels.of('database', database), outcome });
  }

  /** A file was written to a store. */
  uploaded(store: string, bytes: number): void {
    this.#uploads.inc({ store: this.#labels.of('store', store) });
    this.#uploadedBytes.inc({ store: this.#labels.of('store', store) }, bytes);
  }

  /** A backup was restored on trial. */
  verified(event: { store: string; database: string; ok: boolean; durationMs: number }): void {
    const store = this.#labels.of('store', event.store);
    const database = this.#labels.of('database', event.database);
    this.#verifyOk.set({ store, database }, event.ok ? 1 : 0);
    this.#verifySeconds.set({ store, database }, event.durationMs / 1000);
    if (event.ok) this.#verifiedAt.set({ store, database }, Date.now() / 1000);
  }

  /** Something failed in `part`: `fuse`, `database`, `replication`, `apply`, `backup` or the like; never a text from outside. */
  error(part: string): void {
    this.#errors.inc({ part: this.#labels.of('part', part) });
  }

  /** The page, in Prometheus' text format. `status` is what the node says of itself now, if there is one. */
  async render(status: NodeState | undefined): Promise<string> {
    this.#collectTotals();
    this.#collectProcess();
    if (status !== undefined) this.#collectStatus(status);
    return `${await this.#registry.metrics()}\n${this.#commitLag.render()}`;
  }

  #newTotals(database: string): Totals {
    const label = this.#labels.of('database', database);
    const totals = this.#totals.get(label) ?? { transactions: 0, pages: 0, bytes: 0 };
    this.#totals.set(label, totals);
    return totals;
  }

  #collectTotals(): void {
    for (const counter of [this.#transactions, this.#pages, this.#bytes]) counter.reset();
    for (const [database, totals] of this.#totals) {
      this.#transactions.inc({ database }, totals.transactions);
      this.#pages.inc({ database }, totals.pages);
      this.#bytes.inc({ database }, totals.bytes);
    }
  }

  #collectProcess(): void {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    this.#memory.set(rss);
    this.#heap.set(heapUsed);
    this.#cpu.set((user + system) / 1e6);
    this.#started.set(Date.now() / 1000 - process.uptime());
  }

  #collectStatus(status: NodeState): void {
    this.#nodeRole.set(status.role === 'primary' ? 1 : 0);
    this.#ready.set(status.ready ? 1 : 0);
    this.#problems.set(status.problems.length);
    this.#requests.reset();
    for (const [operation, count] of Object.entries(status.requests)) this.#requests.inc({ operation }, count);
    const lagMs = lagOf(status);
    if (lagMs === null) this.#lag.remove();
    else this.#lag.set(lagMs / 1000);
    this.#collectDatabases(status);
    this.#collectReplicas(status);
    this.#collectBackups(status);
  }

  #collectDatabases(status: NodeState): void {
    for (const gauge of [this.#txid, this.#size, this.#walBytes, this.#logBytes, this.#degraded]) gauge.reset();
    for (const db of status.databases) {
      const database = this.#labels.of('database', db.name);
      this.#txid.set({ database }, Number.parseInt(db.txid, 16));
      this.#size.inc({ database }, db.sizeBytes);
      this.#walBytes.inc({ database }, db.walBytes);
      this.#logBytes.inc({ database }, db.log.bytes);
      if (db.durability !== null && db.durability.until !== 'local') {
        this.#degraded.inc({ database }, db.durability.degradedSince === null ? 0 : 1);
      }
    }
  }

  #collectReplicas(status: NodeState): void {
    this.#replicas.set(status.replicas.length);
    this.#buffered.reset();
    this.#replicaLag.reset();
    for (const peer of status.replicas) {
      const replica = this.#labels.of('replica', peer.nodeId);
      this.#buffered.inc({ replica }, peer.bufferedBytes);
      if (peer.lagMs !== null) this.#replicaLag.set({ replica }, peer.lagMs / 1000);
    }
  }

  #collectBackups(status: NodeState): void {
    this.#backupTxid.reset();
    this.#backupLag.reset();
    for (const backup of status.backups) {
      const store = this.#labels.of('store', backup.url);
      for (const db of backup.databases) {
        const database = this.#labels.of('database', db.name);
        this.#backupTxid.set({ store, database }, Number.parseInt(db.txid, 16));
        this.#backupLag.set({ store, database }, db.lagMs / 1000);
      }
    }
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #gauge<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }
}
