import { FaultProxy } from './fault-proxy.js';
import { type BucketPlace, bucketPlace, newApp, type Scene } from './scenario.js';
import { type Workbench, withWorkbench } from './workbench.js';

const SHORT = {
  connectMs: 2000,
  idleMs: 1000,
  requestMs: 3000,
  attempts: 1,
  throttleMinMs: 10,
  throttleMaxMs: 40,
  busyMs: 10,
};

export interface FaultyBucket {
  readonly bench: Workbench;
  readonly place: BucketPlace;
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
export function withAppAndFaultyBucket(
  body: (scene: FaultyBucket & Omit<Scene, 'place'>) => Promise<void>,
): Promise<void> {
  return withFaultyBucket((bucket) => body({ ...bucket, ...newApp(bucket.bench) }));
}
