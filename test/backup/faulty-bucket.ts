import { FaultProxy } from './fault-proxy.js';
import { bucketPlace, newApp, type Place, type Scene } from './scenario.js';
import { type Workbench, withWorkbench } from './workbench.js';

const SHORT = { connectMs: 500, idleMs: 300, requestMs: 1000, attempts: 1 };

export interface FaultyBucket {
  readonly bench: Workbench;
  readonly place: Place;
  readonly proxy: FaultProxy;
}

/** Undefined if versitygw is not installed. */
async function faultyBucket(bench: Workbench): Promise<FaultyBucket | undefined> {
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
  return { bench, place, proxy };
}

/** Runs `body` with a bucket behind a proxy; not at all if versitygw is not installed. */
export function withFaultyBucket(body: (bucket: FaultyBucket) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => {
    const bucket = await faultyBucket(bench);
    if (bucket !== undefined) await body(bucket);
  });
}

/** As `withApp`, and the place is a bucket behind a proxy. */
export function withAppAndFaultyBucket(body: (scene: Scene & FaultyBucket) => Promise<void>): Promise<void> {
  return withFaultyBucket((bucket) => body({ ...bucket, ...newApp(bucket.bench) }));
}
