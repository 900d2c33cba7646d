import { InvalidArgumentError } from 'commander';

/** A TXID as `sluice status` shows it: hex, with or without its leading zeros. */
export function parseTxidOption(text: string): number {
  const value = /^[0-9a-fA-F]{1,16}$/.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('Want a TXID in hex as sluice status shows it, like 2a.');
}
