import { availableParallelism, freemem, release, totalmem } from 'node:os';
import { formatSize } from '../config/index.js';
import { type Finding, fail, ok, warn } from './finding.js';
import { readText } from './system.js';

const MIN_NODE = 20;
/** FUSE_HAS_RESEND, by which a new node takes over a mount, came with it, and FUSE_PASSTHROUGH. */
const MIN_KERNEL = [6, 9] as const;
const LOW_MEMORY_BYTES = 256 * 2 ** 20;

/** Node.js, the kernel, memory and processors. */
export function checkMachine(): Finding[] {
  return [checkNode(process.versions.node), checkKernel(process.platform, release()), checkMemory(), checkProcessors()];
}

export function checkNode(version: string): Finding {
  if (Number.parseInt(version, 10) >= MIN_NODE) return ok('node', `Node.js ${version}`);
  return fail('node', `Node.js ${version}`, `Install Node.js ${MIN_NODE} or newer`);
}

export function checkKernel(platform: string, version: string): Finding {
  if (platform !== 'linux') return fail('kernel', `${platform} ${version}`, 'Sluice mounts on Linux only');
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (major > MIN_KERNEL[0] || (major === MIN_KERNEL[0] && minor >= MIN_KERNEL[1]))
    return ok('kernel', `Linux ${version}`);
  return warn(
    'kernel',
    `Linux ${version} cannot resend requests`,
    `With Linux ${MIN_KERNEL.join('.')} or newer applications do not notice when a node is replaced, and commit faster`,
  );
}

function checkMemory(): Finding {
  const availableKiB = /^MemAvailable:\s+(\d+) kB/m.exec(readText('/proc/meminfo') ?? '')?.[1];
  const available = availableKiB === undefined ? freemem() : Number(availableKiB) * 1024;
  const text = `${formatSize(available)} of ${formatSize(totalmem())} available`;
  if (available >= LOW_MEMORY_BYTES) return ok('memory', text);
  return warn('memory', text, `Leave at least ${formatSize(LOW_MEMORY_BYTES)} for a node`);
}

function checkProcessors(): Finding {
  const count = availableParallelism();
  if (count > 1) return ok('processors', `${count}`);
  return warn('processors', '1', 'With two, the file system does not wait for the application');
}
