// Threads that may wait.
#ifndef WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_
#define WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_

namespace whipsnake::engine {

// From now on the calling thread gets a processor where no other thread wants it, and a small share
// of one where others do (nice 19). For work beside the steps of models, which it must not slow.
void LowerThreadPriority();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_THREAD_PRIORITY_H_
