import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Command } from 'commander';
import { describeError, errorCode, SluiceError } from '../src/errors.js';
import {
  type ByteSource,
  fileSource,
  formatChecksum,
  formatTxid,
  LtxReader,
  type LtxSummary,
  verifyLtx,
} from '../src/ltx/index.js';
import { FAILURE } from './failure.js';

const DUMP_EXAMPLES = `
Examples:
  sluice ltx dump 0000000000000001-0000000000000001.ltx
  sluice ltx dump --json *.ltx | jq '.pages | length'`;

const VERIFY_EXAMPLES = `
Examples:
  sluice ltx verify backup/app.db/ltx/*/*.ltx
  sluice ltx verify --json file.ltx

Exit code 1 if one of the files is damaged.`;

interface Options {
  readonly json?: boolean;
}

/** What is shown of one file: hex for TXIDs and checksums. */
interface FileFacts {
  readonly file: string;
  readonly pageSize: number;
  readonly commit: number;
  readonly minTxid: string;
  readonly maxTxid: string;
  readonly time: string;
  readonly preApply: string;
  readonly postApply: string;
  readonly nodeId: string | null;
  readonly pageCount: number;
  readonly sizeBytes: number;
  readonly fileChecksum: string;
}

export function registerLtx(program: Command): void {
  const ltx = program.command('ltx').description('look into LTX files');
  ltx
    .command('dump')
    .description('show the header, the page numbers and the trailer')
    .argument('<files...>', 'LTX files')
    .option('--json', 'one JSON object a line')
    .addHelpText('after', DUMP_EXAMPLES)
    .action((files: string[], options: Options) => each(files, options, dump));
  ltx
    .command('verify')
    .description('check every checksum')
    .argument('<files...>', 'LTX files')
    .option('--json', 'one JSON object a line')
    .addHelpText('after', VERIFY_EXAMPLES)
    .action((files: string[], options: Options) => each(files, options, verify));
}

/** Does it for each file; one that is damaged does not keep the others from being looked at. */
function each(
  files: readonly string[],
  options: Options,
  work: (file: string, source: ByteSource, asJson: boolean) => void,
): void {
  for (const file of files) {
    try {
      withSource(file, (source) => work(file, source, options.json === true));
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      process.exitCode = FAILURE;
      if (options.json) console.log(JSON.stringify({ file, ok: false, code: error.code, error: error.message }));
      else console.error(`sluice: ${file}: ${describeError(error)}`);
    }
  }
}

function withSource(file: string, work: (source: ByteSource) => void): void {
  const fd = open(file);
  try {
    work(fileSource(fd, 0, fstatSync(fd).size));
  } finally {
    closeSync(fd);
  }
}

function open(file: string): number {
  try {
    const fd = openSync(file, 'r');
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (cause) {
    throw new SluiceError('LTX_FILE', `cannot be read (${errorCode(cause) ?? 'unknown error'})`, '', { cause });
  }
  throw new SluiceError('LTX_FILE', 'is not a file');
}

function verify(file: string, source: ByteSource, asJson: boolean): void {
  const facts = factsOf(file, verifyLtx(source));
  if (asJson) console.log(JSON.stringify({ ok: true, ...facts }));
  else console.log(`${file}: ok, TXID ${facts.minTxid}-${facts.maxTxid}, ${facts.pageCount} pages`);
}

function dump(file: string, source: ByteSource, asJson: boolean): void {
  const reader = new LtxReader(source);
  const page = new Uint8Array(reader.header.pageSize);
  const pages: number[] = [];
  for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) pages.push(pgno);
  const facts = factsOf(file, reader.finish());
  if (asJson) console.log(JSON.stringify({ ok: true, ...facts, pages }));
  else console.log(dumpText(facts, pages));
}

function factsOf(file: string, summary: LtxSummary): FileFacts {
  const { header } = summary;
  return {
    file,
    pageSize: header.pageSize,
    commit: header.commit,
    minTxid: formatTxid(header.minTxid),
    maxTxid: formatTxid(header.maxTxid),
    time: new Date(header.timestampMs).toISOString(),
    preApply: formatChecksum(header.standardPreApply ?? header.preApply),
    postApply: formatChecksum(summary.standardPostApply ?? summary.postApply),
    nodeId: header.nodeId === undefined ? null : header.nodeId.toString(16),
    pageCount: summary.pages,
    sizeBytes: summary.sizeBytes,
    fileChecksum: formatChecksum(summary.fileChecksum),
  };
}

function dumpText(facts: FileFacts, pages: readonly number[]): string {
  return [
    `file           ${facts.file} (${facts.sizeBytes} bytes)`,
    `TXID           ${facts.minTxid}-${facts.maxTxid}`,
    `time           ${facts.time}`,
    `page size      ${facts.pageSize}`,
    `commit         ${facts.commit} pages`,
    `pre-apply      ${facts.preApply}`,
    `post-apply     ${facts.postApply}`,
    `node id        ${facts.nodeId ?? 'none'}`,
    `file checksum  ${facts.fileChecksum}`,
    `pages          ${facts.pageCount}: ${formatRanges(pages)}`,
    '',
  ].join('\n');
}

/** `1, 3-7, 9` of ascending page numbers. */
function formatRanges(pages: readonly number[]): string {
  const ranges: string[] = [];
  for (let i = 0; i < pages.length; ) {
    let end = i;
    while (end + 1 < pages.length && pages[end + 1] === pages[end]! + 1) end++;
    ranges.push(end === i ? `${pages[i]}` : `${pages[i]}-${pages[end]}`);
    i = end + 1;
  }
  return ranges.join(', ');
}
