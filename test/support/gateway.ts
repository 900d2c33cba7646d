import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { requireTool } from '../tools.js';
import { freePort } from './port.js';
import { until } from './until.js';

const START_LIMIT_MS = 20_000;

/** A real S3 server on loopback. */
export interface Gateway {
  readonly endpoint: string;
  readonly bucket: string;
  /** Holds one folder per bucket, in it the objects as files. */
  readonly folder: string;
  readonly env: { readonly AWS_ACCESS_KEY_ID: string; readonly AWS_SECRET_ACCESS_KEY: string };
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  stop(): Promise<void>;
}

/** Starts versitygw on a free port with its data under `folder`; undefined if it is not installed. */
export async function startGateway(folder: string): Promise<Gateway | undefined> {
  const program = requireTool('versitygw');
  if (program === undefined) return undefined;
  const root = join(folder, 'buckets');
  const sidecar = join(folder, 'sidecar');
  mkdirSync(join(root, 'backups'), { recursive: true });
  mkdirSync(sidecar);
  const port = await freePort();
  const args = ['--port', `127.0.0.1:${port}`, '--access', 'tester', '--secret', 'testing-secret', '--quiet'];
  const child = spawn(program, [...args, 'posix', '--sidecar', sidecar, root], { stdio: 'ignore' });
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killAtExit);
  child.once('exit', () => process.removeListener('exit', killAtExit));
  await waitForPort(port, child);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    bucket: 'backups',
    folder: root,
    env: { AWS_ACCESS_KEY_ID: 'tester', AWS_SECRET_ACCESS_KEY: 'testing-secret' },
    credentials: { accessKeyId: 'tester', secretAccessKey: 'testing-secret' },
    stop: () => stopChild(child),
  };
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), 3000);
  await gone;
  clearTimeout(late);
}

async function waitForPort(port: number, child: ChildProcess): Promise<void> {
  try {
    await until(`versitygw listens on port ${port}`, () => child.exitCode !== null || canConnect(port), START_LIMIT_MS);
    if (child.exitCode !== null) throw new Error(`versitygw ended: ${child.exitCode}`);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
