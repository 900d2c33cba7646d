import type { RestoreOptions } from '../src/backup/index.js';
import { formatSize } from '../src/config/index.js';
import { formatChecksum, formatTxid } from '../src/ltx/index.js';

/** Restores as a new database of the node of a config file, and says what came of it. */
export async function runFork(
  name: string,
  file: string | undefined,
  source: Omit<RestoreOptions, 'output' | 'force'>,
  json: boolean,
): Promise<void> {
  const [{ loadConfig }, { forkDatabase }] = await Promise.all([
    import('../src/config/load.js'),
    import('../src/fork-database.js'),
  ]);
  const config = loadConfig({ file });
  const { restored, position } = await forkDatabase({ config, name, source });
  const from = formatTxid(restored.txid);
  const time = new Date(restored.timestampMs).toISOString();
  const txid = formatTxid(position.txid);
  if (json) {
    const checksum = formatChecksum(position.checksum);
    console.log(JSON.stringify({ name, data: config.data, txid, checksum, from, time, sizeBytes: restored.sizeBytes }));
    return;
  }
  console.log(
    `${name}: ${formatSize(restored.sizeBytes)} of ${time} (TXID ${from} of the backup), a new database at TXID ${txid}`,
  );
  console.log(`it is in ${config.data}: start the node to use it`);
}
