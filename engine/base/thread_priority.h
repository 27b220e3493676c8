// Low-priority threads.
#ifndef WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_
#define WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_

namespace whipsnake::engine {

// Sets the calling thread to nice 19: it runs when no other thread wants the CPU, and gets only a
// small share otherwise. For work that must not slow down model steps.
void LowerThreadPriority();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_
