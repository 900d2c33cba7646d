import type { DurabilityConfig, DurabilityRule } from '../config/index.js';

/** What holds for a database: the first entry that names it, else the first pattern that it matches, else what holds for all. */
export function ruleFor(config: DurabilityConfig, name: string): DurabilityRule {
  const exact = config.databases.find(({ pattern }) => pattern === name);
  return exact ?? config.databases.find(({ pattern }) => matches(pattern, name)) ?? config;
}

/** Whether a commit may have to wait for other machines. */
export function isAwaited(config: DurabilityConfig, name: string): boolean {
  return ruleFor(config, name).until !== 'local';
}

/** Whether any database's may. */
export function awaitsAny(config: DurabilityConfig): boolean {
  return [config, ...config.databases].some(({ until }) => until !== 'local');
}

/** `*` is any characters of one folder's or file's name, `**` of any number of them. */
function matches(pattern: string, name: string): boolean {
  const source = pattern
    .split(/(\*+)/)
    .map((part) => (part === '' ? '' : /^\*+$/.test(part) ? (part.length > 1 ? '.*' : '[^/]*') : escaped(part)))
    .join('');
  return new RegExp(`^${source}$`, 's').test(name);
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
