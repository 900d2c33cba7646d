import type { ReadRecord } from '../../../src/disk/trace.js';
import { DiskModel, File, Folder, type Node } from './disk-model.js';

const FLAG_CLEAN = 1;
const FLAG_REPLACING = 8;
const FLAGS_AT = 52;

/**
 * What in a replica's trace is done before what it relies on is durable: pages that are written under a journal which is not
 * on the disk whole and with its name, states that call files clean whose content is not there, and states of databases that
 * are being replaced when what was set aside is not there.
 */
export function outOfOrder(records: readonly ReadRecord[]): string[] {
  const model = new DiskModel();
  const found: string[] = [];
  /** The database of each folder of `meta` and each state file. */
  const databases = new Map<number, string>();
  for (const [index, record] of records.entries()) {
    const files = () => at(model, 'files') as Folder;
    if (record.op === 'mkdir') databases.set(record.file, decodeURIComponent(record.name));
    if (record.op === 'create' && record.label === 'state.create') {
      databases.set(record.file, databases.get(record.folder)!);
    }
    if (record.op === 'write' && record.label === 'db.write') {
      for (const [name, journal] of files().names(files().pending.length)) {
        if (!name.endsWith('-journal') || !(journal instanceof File)) continue;
        if (model.node(record.file) !== file(files(), name.slice(0, -'-journal'.length))) continue;
        if (journal.pending.length > 0) found.push(`${index}: ${name} is not durable when a page is written`);
        if (files().durable.get(name) !== journal)
          found.push(`${index}: the name ${name} is not durable when a page is written`);
      }
    }
    if (record.op === 'write' && record.label === 'state.write' && isClean(record.content)) {
      const db = databases.get(record.file)!;
      for (const name of [db, `${db}-wal`]) {
        const each = file(files(), name);
        if (each instanceof File && each.pending.length > 0)
          found.push(`${index}: ${name} is called clean and is not durable`);
      }
    }
    if (record.op === 'write' && record.label === 'state.write' && hasFlag(record.content, FLAG_REPLACING)) {
      for (const risk of asidesAtRisk(model))
        found.push(`${index}: ${risk} is not durable, and something takes its place`);
    }
    model.take(record, index);
  }
  return found;
}

/** What is to be set aside must be so for good before anything takes its place. */
function asidesAtRisk(model: DiskModel): string[] {
  const folder = at(model, 'set-aside');
  if (!(folder instanceof Folder)) return [];
  if (model.root.durable.get('set-aside') !== folder) return ['set-aside'];
  const risks: string[] = [];
  for (const [name, aside] of folder.names(folder.pending.length)) {
    if (name.endsWith('.unfinished')) continue;
    if (folder.durable.get(name) !== aside || isAtRisk(aside)) risks.push(name);
  }
  return risks;
}

function isAtRisk(node: Node): boolean {
  return node.pending.length > 0 || (node instanceof Folder && [...node.durable.values()].some(isAtRisk));
}

/** Whether it is a state that was written at a stop in order. */
export const isClean = (state: Buffer): boolean => hasFlag(state, FLAG_CLEAN);

const hasFlag = (state: Buffer, flag: number): boolean => (state.readUInt32BE(FLAGS_AT) & flag) !== 0;

const at = (model: DiskModel, name: string): Node | undefined => file(model.root, name);

const file = (folder: Folder, name: string): Node | undefined => folder.names(folder.pending.length).get(name);
