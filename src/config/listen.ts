import type { ListenAddress } from './types.js';

const MAX_PORT = 65_535;
const ADDRESS = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:[\]/]+)):(\d{1,5})$/;

/** `127.0.0.1:20202`, `[::1]:20202` or `localhost:20202`; undefined when it is none of these. */
export function parseListen(text: string): ListenAddress | undefined {
  const match = ADDRESS.exec(text.trim());
  if (match === null) return undefined;
  const port = Number(match[3]);
  return port > MAX_PORT ? undefined : { host: match[1] ?? match[2]!, port };
}

/** The address as it stands in a URL: `host:port`, IPv6 in brackets. */
export function formatListen(address: ListenAddress): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whether only this machine can reach the host. Names other than `localhost` are taken as reachable by others. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  return name === 'localhost' || name === '::1' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(name);
}
