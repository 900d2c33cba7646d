/** What a service behind an endpoint of its own needs that others do not. */
export interface ProviderNeeds {
  /** Whether the bucket's name is in the path rather than in the host's name, unless one is told. */
  readonly pathStyle: boolean;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
}

const TIGRIS = /(^|\.)(storage\.dev|storageapi\.dev|tigris\.dev)$/;
const AWS = /(^|\.)amazonaws\.com(\.cn)?$/;

/** `endpoint`: a URL; undefined for AWS itself. */
export function providerNeeds(endpoint: string | undefined): ProviderNeeds {
  const host = endpoint === undefined || !URL.canParse(endpoint) ? '' : new URL(endpoint).hostname;
  // Without the header a bucket that is kept in several regions may answer from one that is behind.
  if (TIGRIS.test(host)) return { pathStyle: false, headers: { 'x-tigris-consistent': 'true' } };
  return { pathStyle: endpoint !== undefined && !AWS.test(host), headers: {} };
}
