import { FaultProxy } from './fault-proxy.js';
import { bucketPlace, type Place } from './scenario.js';
import type { Workbench } from './workbench.js';

const SHORT = { connectMs: 500, idleMs: 300, requestMs: 1000, attempts: 1 };

export interface FaultyBucket {
  readonly place: Place;
  readonly proxy: FaultProxy;
}

/** A bucket behind a proxy; undefined if versitygw is not installed. */
export async function faultyBucket(bench: Workbench): Promise<FaultyBucket | undefined> {
  let proxy: FaultProxy | undefined;
  const through = async (endpoint: string): Promise<string> => {
    proxy = new FaultProxy(endpoint);
    await proxy.start();
    return proxy.endpoint;
  };
  const place = await bucketPlace(bench, through, SHORT);
  if (place === undefined || proxy === undefined) return undefined;
  const started = proxy;
  bench.onEnd(() => started.stop());
  return { place, proxy };
}
