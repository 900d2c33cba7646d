import { mkdtempSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mountKernel, openDevice, prepareMountPoint } from '../../src/fuse/mount.js';

/** As the doctor's probe server, but nobody answers, and it does not end when it is asked to. */
const deviceFd = openDevice();
const mount = prepareMountPoint(join(mkdtempSync(join(tmpdir(), 'sluice-doctor-')), 'mnt'));
mountKernel({ deviceFd, path: mount, name: 'sluice-test' });
writeSync(1, `${JSON.stringify({ mount })}\n`);
setInterval(() => undefined, 60_000);
