import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type ClusterNode, freePort, startPrimary, startReplica } from '../../support/cluster.js';

const APPLICATION = fileURLToPath(new URL('./application.js', import.meta.url));
export const TOKEN = 'a-token-for-tests';
const applications: ChildProcess[] = [];

/** A node, its proxy, and an application behind that. */
export interface ProxiedNode {
  readonly node: ClusterNode;
  /** Of the proxy. */
  readonly url: string;
  readonly target: string;
  readonly application: ChildProcess;
  /** Starts the application again, after its end. */
  restart(): Promise<void>;
}

export async function startProxied(primary: ClusterNode | undefined, more: object = {}): Promise<ProxiedNode> {
  const [port, target] = [await freePort(), await freePort()];
  const options = {
    replication: { token: TOKEN },
    proxy: { listen: `127.0.0.1:${port}`, target: `127.0.0.1:${target}`, ...more },
  };
  const node = primary === undefined ? await startPrimary(options) : await startReplica(primary, options);
  const start = () => startApplication(target, node.path('app.db'), primary === undefined ? 'primary' : 'replica');
  const application = await start();
  const restart = async () => {
    await start();
  };
  return { node, url: `http://127.0.0.1:${port}`, target: `http://127.0.0.1:${target}`, application, restart };
}

export function startApplication(port: number, database: string, name: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [APPLICATION, String(port), database, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  applications.push(child);
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the application ended with ${code}`)));
    child.stdout?.once('data', () => resolve(child));
  });
}

export function stopApplications(): void {
  for (const child of applications.splice(0)) child.kill('SIGKILL');
}

process.once('exit', stopApplications);
