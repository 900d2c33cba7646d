/** What a proxy has done since it started. */
export interface ProxyCounts {
  /** Requests by where they went first. */
  local: number;
  forwarded: number;
  replayed: number;
  /** Reads that waited for their positions, and those that waited in vain. */
  waited: number;
  late: number;
  /** Answers of the proxy's own. */
  badGateway: number;
  unavailable: number;
  timedOut: number;
  refused: number;
  /** Connections over the limit. */
  dropped: number;
  tunnels: number;
  /** Answers to writes that could not say what they led to. */
  unsettled: number;
}

export const COUNT_NAMES = [
  'local',
  'forwarded',
  'replayed',
  'waited',
  'late',
  'badGateway',
  'unavailable',
  'timedOut',
  'refused',
  'dropped',
  'tunnels',
  'unsettled',
] as const satisfies readonly (keyof ProxyCounts)[];

export function newCounts(): ProxyCounts {
  return {
    local: 0,
    forwarded: 0,
    replayed: 0,
    waited: 0,
    late: 0,
    badGateway: 0,
    unavailable: 0,
    timedOut: 0,
    refused: 0,
    dropped: 0,
    tunnels: 0,
    unsettled: 0,
  };
}
