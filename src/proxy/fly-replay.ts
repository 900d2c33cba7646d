const FLY_MACHINE = /^([0-9a-f]{6,32})\.vm\.[a-z0-9-]+\.internal$/;

/**
 * The value of the `fly-replay` header that sends a request to the primary's region or machine, by the config's `flyReplay`.
 * Undefined where there is nothing to say: not wished, already replayed, or `instance` and the primary's address is not that
 * of a machine (`http://<machine>.vm.<app>.internal:port`); the request is forwarded then.
 */
export function flyReplayOf(setting: string | null, primary: string | null, isReplayed: boolean): string | undefined {
  if (setting === null || isReplayed) return undefined;
  if (setting !== 'instance') return setting;
  const host = primary !== null && URL.canParse(primary) ? new URL(primary).hostname : '';
  const machine = FLY_MACHINE.exec(host)?.[1];
  return machine === undefined ? undefined : `instance=${machine}`;
}
