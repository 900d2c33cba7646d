// Put before fuse-native's C source (`-include`) where it is compiled.
//
// fuse-native does not say who made a request. libfuse knows: here the caller is noted in the request's own record, which
// fuse-native hands to each handler, in words of its event handle that libuv leaves to the user of none:
//
//   u.reserved[1]  CALLER_MAGIC: the others are filled in
//   u.reserved[2]  thread id
//   u.reserved[3]  user id in the lower, group id in the upper 32 bits
//
// src/fuse/native-binding.ts reads them.
#pragma once
#define FUSE_USE_VERSION 29
#include <stdint.h>
#include <uv.h>
#include <fuse.h>

#define CALLER_MAGIC 0x51c1cec0ffee0001ull

// On the thread of the request, before the event loop hears of it.
static inline int send_with_caller(uv_async_t *async) {
  const struct fuse_context *caller = fuse_get_context();
  async->u.reserved[2] = (void *) (uintptr_t) (uint32_t) caller->pid;
  async->u.reserved[3] = (void *) ((uintptr_t) (uint32_t) caller->uid | (uintptr_t) (uint32_t) caller->gid << 32);
  async->u.reserved[1] = (void *) (uintptr_t) CALLER_MAGIC;
  return uv_async_send(async);
}
#define uv_async_send send_with_caller
