export { type FollowOptions, followFile } from './follow-file.js';
export type { FeedLimits } from './limits.js';
export { StoreFeed } from './store-feed.js';
export type { FeedHooks, FeedLog, FeedProblem, StoreFeedOptions } from './types.js';
