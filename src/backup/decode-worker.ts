import { parentPort, workerData } from 'node:worker_threads';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { LtxStreamDecoder } from '../ltx/index.js';
import type { DecodeAnswer, DecodeRequest } from './decode-thread.js';
import { BatchWriter, type SharedBatches } from './page-batches.js';

/** How far it has got is told after so many bytes, and at the end of a file. */
const TOLD_BYTES = 512 * 1024;

/** The thread's own program: decodes and checks LTX files whose pieces it is sent, one file after the other. */
const batches = new BatchWriter(workerData as SharedBatches, (batch, count) => post({ kind: 'pages', batch, count }));
let decoder = newDecoder();
let failed = false;
let takenBytes = 0;

parentPort!.on('message', (piece: DecodeRequest) => {
  if (failed) return;
  try {
    if (piece !== 'end') {
      decoder.push(piece);
      takenBytes += piece.length;
      if (takenBytes >= TOLD_BYTES) tellTaken();
      return;
    }
    tellTaken();
    batches.flush();
    const { postApply, standardPostApply } = decoder.end();
    decoder = newDecoder();
    post({ kind: 'end', end: { postApply, ...(standardPostApply !== undefined && { standardPostApply }) } });
  } catch (error) {
    failed = true;
    const message = error instanceof SluiceError ? error.message : describeError(error);
    post({ kind: 'failed', code: errorCode(error) ?? 'RESTORE_FAILED', message });
  }
});

function newDecoder(): LtxStreamDecoder {
  return new LtxStreamDecoder({
    header: (header) => post({ kind: 'header', header }),
    page: (pgno, page, crc) => batches.add(pgno, page, crc),
  });
}

function tellTaken(): void {
  post({ kind: 'taken', bytes: takenBytes });
  takenBytes = 0;
}

function post(answer: DecodeAnswer): void {
  parentPort!.postMessage(answer);
}
