#include "engine/base/thread_priority.h"

#include <sys/resource.h>

namespace whipsnake::engine {

// On Linux this affects only the calling thread and needs no privilege. If it fails, only speed is
// lost.
void LowerThreadPriority() { setpriority(PRIO_PROCESS, 0, 19); }

}  // namespace whipsnake::engine
