#include "engine/base/thread_priority.h"

#include <sys/resource.h>

namespace whipsnake::engine {

// On Linux the calling thread alone, and always allowed. Where it fails nothing but speed is lost.
void LowerThreadPriority() { setpriority(PRIO_PROCESS, 0, 19); }

}  // namespace whipsnake::engine
