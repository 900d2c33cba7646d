import { createHash } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';
import { SluiceError } from '../errors.js';
import { S3Conditions } from './s3-conditions.js';
import { isBusy, isDigestWanted, isExpired, isThrottling, s3Error } from './s3-errors.js';
import { providerNeeds } from './s3-providers.js';
import { S3Throttle } from './s3-throttle.js';
import { trustingAgent } from './s3-trust.js';
import type { S3Url } from './urls.js';

/** The AWS SDK's module: about 30 MB of memory and a quarter of a second, so it is imported when first needed. */
export type S3Sdk = typeof import('@aws-sdk/client-s3');

/** What a bucket needs beyond its address. Everything left out is found as AWS tools find it: AWS_* variables, profile, role. */
export interface S3Options {
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
  readonly profile?: string;
  /** These three override the address's own. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  /** How the server is asked to encrypt what it stores. */
  readonly sse?: 'AES256' | 'aws:kms';
  readonly sseKeyId?: string;
  /** A file of certificates, in PEM, that count beside the usual ones; if left out: what AWS_CA_BUNDLE names. */
  readonly caFile?: string;
  readonly limits?: Partial<S3Limits>;
}

export interface S3Limits {
  /** To open a connection. */
  readonly connectMs: number;
  /** Without a byte in either direction. */
  readonly idleMs: number;
  /** From the start of a request to the head of its answer: a part must be through by then. */
  readonly requestMs: number;
  /** Tries of one request, with the SDK's own back-off between them. */
  readonly attempts: number;
  /** Pause of the whole connection after those, where the server asks for fewer requests; it doubles each time. */
  readonly throttleMinMs: number;
  readonly throttleMaxMs: number;
  /** How long another write of the same name may take. */
  readonly busyMs: number;
}

const DEFAULT_LIMITS: S3Limits = {
  connectMs: 5_000,
  idleMs: 30_000,
  requestMs: 300_000,
  attempts: 3,
  throttleMinMs: 1_000,
  throttleMaxMs: 30_000,
  busyMs: 300,
};
/** How often a request is sent in all where the server asks for fewer, each time after a pause: half a minute with the defaults. */
const THROTTLED_TRIES = 6;
/** How often where another write of the same name is under way. */
const BUSY_TRIES = 5;

/** Where `endpoint` names a server of one's own, its region hardly ever matters; signatures need one. */
const DEFAULT_REGION = 'us-east-1';

/** Runs requests on one bucket, made on first use; every failure becomes a SluiceError. */
export class S3Connection {
  private client: S3Client | undefined;
  private closed = false;
  private readonly limits: S3Limits;
  private readonly throttle: S3Throttle;
  readonly bucket: string;
  readonly conditions: S3Conditions;
  /** Unless the server refuses that. */
  deletesInBatches = true;
  private sendsDigests = false;

  constructor(
    private readonly url: S3Url,
    private readonly options: S3Options,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.bucket = url.bucket;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.throttle = new S3Throttle(this.limits.throttleMinMs, this.limits.throttleMaxMs);
    this.conditions = new S3Conditions(`s3://${url.bucket}`);
  }

  /** Part of each request that makes an object. */
  get encryption(): { ServerSideEncryption?: 'AES256' | 'aws:kms'; SSEKMSKeyId?: string } {
    const { sse, sseKeyId } = this.options;
    return {
      ...(sse !== undefined && { ServerSideEncryption: sse }),
      ...(sseKeyId !== undefined && { SSEKMSKeyId: sseKeyId }),
    };
  }

  /** Part of each request that has these bytes: nothing, unless the server wants it, as buckets with Object Lock do. */
  digest(bytes: Uint8Array): { ContentMD5?: string } {
    return this.sendsDigests ? { ContentMD5: createHash('md5').update(bytes).digest('base64') } : {};
  }

  /**
   * `what` completes "cannot ...", e.g. `list s3://bucket/path`. `action` is one request: it is sent again where that
   * helps, after a pause where the server asks for one.
   */
  async run<T>(what: string, action: (client: S3Client, sdk: S3Sdk) => Promise<T>): Promise<T> {
    const sdk = await import('@aws-sdk/client-s3');
    for (let tries = 1; ; tries++) {
      await this.throttle.pass();
      if (this.closed) throw new SluiceError('STORE_FAILED', `cannot ${what}: the store is closed`);
      let client: S3Client | undefined;
      try {
        this.client ??= this.createClient(sdk);
        client = this.client;
        const answer = await action(client, sdk);
        this.throttle.passed();
        return answer;
      } catch (error) {
        const failure = s3Error(error, `cannot ${what}`);
        // Credentials may be renewed outside: a new client reads them again.
        if (failure.code === 'STORE_ACCESS' && this.client === client) this.client = undefined;
        if (this.closed || !(await this.mayTryAgain(failure, tries))) throw failure;
      }
    }
  }

  close(): void {
    this.closed = true;
    this.throttle.close();
    this.client?.destroy();
    this.client = undefined;
  }

  private async mayTryAgain(failure: SluiceError, tries: number): Promise<boolean> {
    if (isThrottling(failure)) {
      this.throttle.slowed();
      return tries < THROTTLED_TRIES;
    }
    if (isDigestWanted(failure) && !this.sendsDigests) {
      this.sendsDigests = true;
      return true;
    }
    if (isBusy(failure) && tries < BUSY_TRIES) {
      await this.throttle.sleep(this.limits.busyMs * (0.5 + Math.random() / 2));
      return true;
    }
    return isExpired(failure) && this.options.credentials === undefined && tries === 1;
  }

  private createClient(sdk: S3Sdk): S3Client {
    const { url, options, env, limits } = this;
    const endpoint = options.endpoint ?? url.endpoint;
    // A variable that is set to nothing says nothing.
    const server = endpoint || env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || undefined;
    const region =
      options.region ||
      url.region ||
      env.AWS_REGION ||
      env.AWS_DEFAULT_REGION ||
      (server === undefined ? undefined : DEFAULT_REGION);
    const needs = providerNeeds(server);
    const agent = trustingAgent(options.caFile || env.AWS_CA_BUNDLE, env);
    // Nothing a user of Sluice can act on: the SDK's version is pinned with the Node versions that Sluice supports.
    env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    const settings = {
      ...(endpoint !== undefined && { endpoint }),
      ...(region !== undefined && { region }),
      ...(options.profile !== undefined && { profile: options.profile }),
      ...(options.credentials !== undefined && { credentials: { ...options.credentials } }),
      // The files of profiles are read anew by each client: they are where renewed credentials come from.
      ignoreCache: true,
      forcePathStyle: options.pathStyle ?? url.pathStyle ?? needs.pathStyle,
      maxAttempts: limits.attempts,
      // The signature already covers the body; not every server knows the newer checksum headers.
      requestChecksumCalculation: 'WHEN_REQUIRED' as const,
      responseChecksumValidation: 'WHEN_REQUIRED' as const,
      requestHandler: {
        connectionTimeout: limits.connectMs,
        socketTimeout: limits.idleMs,
        requestTimeout: limits.requestMs,
        throwOnRequestTimeout: true,
        ...(agent !== undefined && { httpsAgent: agent }),
      },
    };
    const client = new sdk.S3Client(settings);
    addHeaders(client, needs.headers);
    return client;
  }
}

function addHeaders(client: S3Client, headers: Readonly<Record<string, string>>): void {
  if (Object.keys(headers).length === 0) return;
  client.middlewareStack.add(
    (next) => (args) => {
      Object.assign((args.request as { headers: Record<string, string> }).headers, headers);
      return next(args);
    },
    { step: 'build', name: 'sluiceHeaders' },
  );
}
