import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** An input of up to so many bytes is shown whole. */
const SHOWN_BYTES = 4096;

/** Keeps an input that failed, and says what it was and how to see it again. */
export function reportFailure(target: string, what: string, input: Buffer): void {
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 8);
  const path = join(tmpdir(), `sluice-fuzz-${target}-${hash}`);
  writeFileSync(path, input);
  console.log(`FAILED ${target}: ${what}`);
  if (input.length <= 64) console.log(`  hex    ${input.toString('hex')}`);
  if (input.length <= SHOWN_BYTES) console.log(`  base64 ${input.toString('base64')}`);
  console.log(`  again: npm run soak -- fuzz --target ${target} --input ${path}`);
}
