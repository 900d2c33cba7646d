// Put before each C++ source of better-sqlite3 (`-include`) where it is compiled for Node.js 24.
//
// From 24.19 on, the destructor of node::ObjectWrap takes back an environment hook, which ends the process if no script is
// running at that moment: any garbage collection may be such a one. The hooks are left out; before 24 there were none, and
// better-sqlite3 closes its databases by a hook of its own.
#pragma once
#include <node.h>
namespace node {
inline void LeaveOut(v8::Isolate*, void (*)(void*), void*) {}
}  // namespace node
#define AddEnvironmentCleanupHook LeaveOut
#define RemoveEnvironmentCleanupHook LeaveOut
#include <node_object_wrap.h>
#undef AddEnvironmentCleanupHook
#undef RemoveEnvironmentCleanupHook
