import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Metrics } from '../../src/http/index.js';
import { PRIMARY, REPLICA } from './status-fixture.js';

/** The value of the sample with that name and labels. */
function sample(page: string, name: string): number | undefined {
  const line = page.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}

const test = suite('http/metrics');

test('counts transactions, pages and bytes per database', async () => {
  const metrics = new Metrics();
  metrics.transaction('a.db', 3, 700);
  metrics.transaction('a.db', 1, 200);
  metrics.transaction('b.db', 5, 50);
  for (let scrape = 0; scrape < 2; scrape++) {
    const page = await metrics.render(undefined);
    assert.is(sample(page, 'sluice_transactions_total{database="a.db"}'), 2);
    assert.is(sample(page, 'sluice_pages_total{database="a.db"}'), 4);
    assert.is(sample(page, 'sluice_ltx_bytes_total{database="a.db"}'), 900);
    assert.is(sample(page, 'sluice_transactions_total{database="b.db"}'), 1);
  }
});

test('many databases are counted together beyond a hundred', async () => {
  const metrics = new Metrics();
  for (let i = 0; i < 150; i++) metrics.transaction(`${i}.db`, 1, 1);
  metrics.transaction('149.db', 1, 1);
  const page = await metrics.render(undefined);
  assert.is(page.match(/^sluice_transactions_total\{/gm)?.length, 101);
  assert.is(sample(page, 'sluice_transactions_total{database="other"}'), 51);
  assert.is(sample(page, 'sluice_transactions_total{database="7.db"}'), 1);
});

test('lag goes to a histogram in seconds, uploads and errors to counters', async () => {
  const metrics = new Metrics();
  metrics.visible(0.4);
  metrics.visible(40);
  metrics.visible(-3); // a clock that was set back
  metrics.uploaded('file:///b', 100);
  metrics.error('backup');
  const page = await metrics.render(undefined);
  assert.is(sample(page, 'sluice_commit_to_replica_seconds_bucket{le="0.0005"}'), 2);
  assert.is(sample(page, 'sluice_commit_to_replica_seconds_bucket{le="0.05"}'), 3);
  assert.is(sample(page, 'sluice_commit_to_replica_seconds_count'), 3);
  assert.is(sample(page, 'sluice_backup_uploads_total{store="file:///b"}'), 1);
  assert.is(sample(page, 'sluice_backup_uploaded_bytes_total{store="file:///b"}'), 100);
  assert.is(sample(page, 'sluice_errors_total{part="backup"}'), 1);
});

test('gauges follow the status, and forget what is gone', async () => {
  const metrics = new Metrics();
  const page = await metrics.render(PRIMARY);
  assert.is(sample(page, 'sluice_primary'), 1);
  assert.is(sample(page, 'sluice_ready'), 1);
  assert.is(sample(page, 'sluice_problems'), 0);
  assert.is(sample(page, 'sluice_fuse_requests_total{operation="WRITE"}'), 12);
  assert.is(sample(page, 'sluice_database_txid{database="app.db"}'), 42);
  assert.is(sample(page, 'sluice_database_size_bytes{database="app.db"}'), 12_288);
  assert.is(sample(page, 'sluice_wal_bytes{database="app.db"}'), 4152);
  assert.is(sample(page, 'sluice_log_bytes{database="app.db"}'), 2048);
  assert.is(sample(page, 'sluice_replicas'), 1);
  assert.is(sample(page, 'sluice_replica_buffered_bytes{replica="0badcafe"}'), 17);
  assert.is(sample(page, 'sluice_replica_lag_seconds{replica="0badcafe"}'), 0.003);
  assert.is(sample(page, 'sluice_backup_txid{store="file:///backup",database="app.db"}'), 40);
  assert.is(sample(page, 'sluice_backup_lag_seconds{store="file:///backup",database="app.db"}'), 0.9);
  assert.is(sample(page, 'sluice_lag_seconds'), undefined);
  assert.ok(sample(page, 'process_resident_memory_bytes')! > 1e6);

  const later = await metrics.render({ ...REPLICA, databases: [] });
  assert.is(sample(later, 'sluice_primary'), 0);
  assert.is(sample(later, 'sluice_lag_seconds'), 0.002);
  assert.is(sample(later, 'sluice_database_txid{database="app.db"}'), undefined);
  assert.is(sample(later, 'sluice_replica_lag_seconds{replica="0badcafe"}'), undefined);
});

test.run();
