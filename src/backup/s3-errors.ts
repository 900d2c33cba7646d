import { describeError, errorCode, SluiceError } from '../errors.js';

/** What an AWS SDK error holds, where it is one. */
interface ServiceError {
  readonly name: string;
  readonly message: string;
  /** Undefined where no answer came. */
  readonly status: number | undefined;
  /** RFC 9110, from the answer. */
  readonly serverDate: string | undefined;
}

const REGION_HINT =
  "Name the bucket's region: AWS_REGION=…, ?region=… at the end of the address, or region in sluice.yml";
const ACCESS_HINT = 'Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the profile, and the rights on the bucket';
const FULL_HINT = 'Make room or raise the quota; the backup goes on by itself';
const CLOCK_HINT =
  "Set this machine's clock: servers refuse requests that seem to be 15 minutes old or from the future";
const TRUST_HINT =
  "If the server's certificate is of an authority of your own, name its file: caFile in sluice.yml, or AWS_CA_BUNDLE";
const THROTTLED_HINT =
  'Sluice waits longer after each such answer; fewer databases or longer intervals need fewer requests';

const FULL = /^(QuotaExceeded|StorageFull|InsufficientStorage|XMinioStorageFull|XMinioAdminBucketQuotaExceeded)$/;
const SKEWED = /^(RequestTimeTooSkewed|RequestInTheFuture|RequestExpired)$/;
const EXPIRED =
  /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|InvalidToken|InvalidAccessKeyId|SignatureDoesNotMatch)$/;
const NO_CREDENTIALS = /^(CredentialsProviderError|TokenProviderError)$/;
const THROTTLED =
  /^(SlowDown|SlowDownRead|SlowDownWrite|Throttling|ThrottlingException|TooManyRequests|RequestLimitExceeded)$/;
const UNTRUSTED =
  /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?))$/;
/** Nothing was sent. */
const UNREACHED = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/;

/** As a SluiceError with one of the codes of Store. */
export function s3Error(error: unknown, what: string): SluiceError {
  if (error instanceof SluiceError) return error;
  const service = readServiceError(error);
  const { name, message, status } = service;
  const failure = (code: string, why: string, hint = ''): SluiceError =>
    new SluiceError(code, `${what}: ${why}`, hint, { cause: error });

  if (name === 'NoSuchBucket')
    return failure('STORE_NOT_FOUND', 'no such bucket', 'Create the bucket, or correct the address');
  if (status === 404) return failure('STORE_NOT_FOUND', 'no such object');
  if (isFull(service)) return failure('STORE_FULL', `the store is full: ${name}: ${message}`, FULL_HINT);
  if (SKEWED.test(name)) return failure('STORE_FAILED', describeClocks(service), CLOCK_HINT);
  if (status === 401 || status === 403 || EXPIRED.test(name) || NO_CREDENTIALS.test(name))
    return failure('STORE_ACCESS', `${name}: ${message}`, ACCESS_HINT);
  if (isRegionError(name, message)) return failure('STORE_FAILED', message, REGION_HINT);
  if (UNTRUSTED.test(errorCode(error) ?? '')) return failure('STORE_FAILED', message, TRUST_HINT);
  const detail = status === undefined ? `${name}: ${message}` : `${name}: ${message} (HTTP ${status})`;
  return failure('STORE_FAILED', detail, isThrottling(error) ? THROTTLED_HINT : '');
}

/** The HTTP status of an AWS SDK error, also where a SluiceError was made of it. */
export function s3Status(error: unknown): number | undefined {
  return readServiceError(origin(error)).status;
}

export function isMissingBucket(error: unknown): boolean {
  return readServiceError(origin(error)).name === 'NoSuchBucket';
}

/** The server found the condition of a write not met. */
export function isConflict(error: unknown): boolean {
  const { name, status } = readServiceError(origin(error));
  return status === 412 || name === 'FileAlreadyExists';
}

/** Another write of the same name was under way: how it ends is not known yet. */
export function isBusy(error: unknown): boolean {
  return s3Status(error) === 409 && !isConflict(error);
}

/** The server asks for fewer requests. */
export function isThrottling(error: unknown): boolean {
  const { name, status } = readServiceError(origin(error));
  // 408 is how Tigris sheds load.
  return THROTTLED.test(name) || status === 503 || status === 429 || status === 408;
}

/** The server takes bytes only with their hash. */
export function isDigestWanted(error: unknown): boolean {
  const { message, status } = readServiceError(origin(error));
  return status === 400 && /Content-MD5/.test(message);
}

/** Credentials that others, read again, may replace. */
export function isExpired(error: unknown): boolean {
  return EXPIRED.test(readServiceError(origin(error)).name);
}

/** The server does not know the headers that make a write conditional. */
export function isUnknownCondition(error: unknown): boolean {
  const { name, message, status } = readServiceError(origin(error));
  if (status === 501) return true;
  return (
    status === 400 &&
    /^(NotImplemented|Invalid|Unsupported)/.test(name) &&
    /if-(none-)?match|condition|header/i.test(message)
  );
}

/** The request may have been carried out all the same. */
export function isUncertain(error: unknown): boolean {
  const cause = origin(error);
  if (cause === undefined) return false;
  const { name, status } = readServiceError(cause);
  if (name === 'NoSuchUpload' || status === 408) return true;
  return status === undefined ? !UNREACHED.test(errorCode(cause) ?? '') : status >= 500 && status !== 501;
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

/** Some say it by a name, Backblaze B2 by a refusal with a text. */
function isFull({ name, message, status }: ServiceError): boolean {
  return status === 507 || FULL.test(name) || (status === 403 && /storage cap exceeded|quota/i.test(message));
}

function describeClocks({ serverDate }: ServiceError): string {
  const here = new Date().toISOString();
  const there = serverDate === undefined ? Number.NaN : Date.parse(serverDate);
  const other = Number.isNaN(there) ? 'another time' : new Date(there).toISOString();
  return `the clocks differ: this machine's says ${here}, the server's ${other}`;
}

function origin(error: unknown): unknown {
  return error instanceof SluiceError ? error.cause : error;
}

function readServiceError(error: unknown): ServiceError {
  if (!(error instanceof Error))
    return { name: 'Error', message: String(error), status: undefined, serverDate: undefined };
  const status = property(property(error, '$metadata'), 'httpStatusCode');
  const date = property(property(property(error, '$response'), 'headers'), 'date');
  return {
    name: error.name,
    message: describeError(error) || 'no message',
    status: typeof status === 'number' ? status : undefined,
    serverDate: typeof date === 'string' ? date : undefined,
  };
}

function property(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return (value as Record<string, unknown>)[name];
}
