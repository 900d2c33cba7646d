import Database from 'better-sqlite3';

/**
 * A program that makes a database of about so many bytes in WAL mode, in transactions of about so many:
 * `node big-writer.js PATH BYTES TRANSACTION_BYTES`. Three rows fill a page. Half of each is random, so LZ4 has something to do; a random
 * key scatters the pages of its index.
 */
const [path = '', bytes = '', transactionBytes = ''] = process.argv.slice(2);
const ROW_BYTES = 1300;

const db = new Database(path, { timeout: 20_000 });
db.pragma('journal_mode = wal');
db.exec(`create table if not exists rows(id integer primary key, key integer, payload text);
  create index if not exists rows_key on rows(key)`);
const insert = db.prepare(`
  with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
  insert into rows(key, payload) select random(), hex(randomblob(${ROW_BYTES / 4})) || hex(zeroblob(${ROW_BYTES / 4})) from n`);
const rows = Math.ceil(Number(transactionBytes) / ROW_BYTES);
for (let written = 0; written < Number(bytes); written += rows * ROW_BYTES) insert.run(rows);
db.close();
