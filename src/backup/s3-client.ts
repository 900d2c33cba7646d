import type { S3Client } from '@aws-sdk/client-s3';
import { describeError, SluiceError } from '../errors.js';
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
}

const DEFAULT_LIMITS: S3Limits = { connectMs: 5_000, idleMs: 30_000, requestMs: 300_000, attempts: 3 };

/** Where `endpoint` names a server of one's own, its region hardly ever matters; signatures need one. */
const DEFAULT_REGION = 'us-east-1';

const REGION_HINT =
  "Name the bucket's region: AWS_REGION=…, ?region=… at the end of the address, or region in sluice.yml";

/** Runs requests on one bucket, made on first use; every failure becomes a SluiceError. */
export class S3Connection {
  private client: S3Client | undefined;
  private closed = false;
  readonly bucket: string;

  constructor(
    private readonly url: S3Url,
    private readonly options: S3Options,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.bucket = url.bucket;
  }

  /** `what` completes "cannot ...", e.g. `list s3://bucket/path`. */
  async run<T>(what: string, action: (client: S3Client, sdk: S3Sdk) => Promise<T>): Promise<T> {
    const sdk = await import('@aws-sdk/client-s3');
    if (this.closed) throw new SluiceError('STORE_FAILED', `cannot ${what}: the store is closed`);
    let client: S3Client | undefined;
    try {
      this.client ??= this.createClient(sdk);
      client = this.client;
      return await action(client, sdk);
    } catch (error) {
      const failure = s3Error(error, `cannot ${what}`);
      // Credentials may be renewed outside: a new client reads them again.
      if (failure.code === 'STORE_ACCESS' && this.client === client) this.client = undefined;
      throw failure;
    }
  }

  close(): void {
    this.closed = true;
    this.client?.destroy();
    this.client = undefined;
  }

  private createClient(sdk: S3Sdk): S3Client {
    const { url, options, env } = this;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const endpoint = options.endpoint ?? url.endpoint;
    // A variable that is set to nothing says nothing.
    const ownServer = Boolean(endpoint || env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL);
    const region =
      options.region ||
      url.region ||
      env.AWS_REGION ||
      env.AWS_DEFAULT_REGION ||
      (ownServer ? DEFAULT_REGION : undefined);
    // Nothing a user of Sluice can act on: the SDK's version is pinned with the Node versions that Sluice supports.
    env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    return new sdk.S3Client({
      ...(endpoint !== undefined && { endpoint }),
      ...(region !== undefined && { region }),
      ...(options.profile !== undefined && { profile: options.profile }),
      ...(options.credentials !== undefined && { credentials: { ...options.credentials } }),
      forcePathStyle: options.pathStyle ?? url.pathStyle ?? ownServer,
      maxAttempts: limits.attempts,
      // The signature already covers the body; not every server knows the newer checksum headers.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: limits.connectMs,
        socketTimeout: limits.idleMs,
        requestTimeout: limits.requestMs,
        throwOnRequestTimeout: true,
      },
    });
  }
}

/** What an AWS SDK error holds, where it is one. */
interface ServiceError {
  readonly name: string;
  readonly message: string;
  readonly status: number | undefined;
}

/** As a SluiceError with one of the codes of Store. */
export function s3Error(error: unknown, what: string): SluiceError {
  if (error instanceof SluiceError) return error;
  const { name, message, status } = readServiceError(error);
  const options = { cause: error };
  if (name === 'NoSuchBucket') {
    return new SluiceError(
      'STORE_NOT_FOUND',
      `${what}: no such bucket`,
      'Create the bucket, or correct the address',
      options,
    );
  }
  if (status === 404) return new SluiceError('STORE_NOT_FOUND', `${what}: no such object`, '', options);
  if (status === 401 || status === 403 || isCredentialError(name)) {
    const hint = 'Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the profile, and the rights on the bucket';
    return new SluiceError('STORE_ACCESS', `${what}: ${name}: ${message}`, hint, options);
  }
  if (isRegionError(name, message)) return new SluiceError('STORE_FAILED', `${what}: ${message}`, REGION_HINT, options);
  const detail = status === undefined ? `${name}: ${message}` : `${name}: ${message} (HTTP ${status})`;
  return new SluiceError('STORE_FAILED', `${what}: ${detail}`, '', options);
}

/** The HTTP status of an AWS SDK error. */
export function s3Status(error: unknown): number | undefined {
  return readServiceError(error).status;
}

/** The SDK's own, which has no name of its own, or the server's answer where the bucket is in another region. */
function isRegionError(name: string, message: string): boolean {
  return (
    /^Region (is missing|not accepted)/.test(message) ||
    name === 'PermanentRedirect' ||
    name === 'IllegalLocationConstraintException' ||
    (name === 'AuthorizationHeaderMalformed' && message.includes('region'))
  );
}

function isCredentialError(name: string): boolean {
  return /^(CredentialsProviderError|ExpiredToken|ExpiredTokenException|TokenRefreshRequired|TokenProviderError)$/.test(
    name,
  );
}

function readServiceError(error: unknown): ServiceError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), status: undefined };
  const metadata = '$metadata' in error ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
      ? metadata.httpStatusCode
      : undefined;
  return {
    name: error.name,
    message: describeError(error) || 'no message',
    status: typeof status === 'number' ? status : undefined,
  };
}
