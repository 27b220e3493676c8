// Makes allocations of the current thread fail.
#ifndef WHIPSNAKE_TESTS_SERVER_FAILING_MEMORY_H_
#define WHIPSNAKE_TESTS_SERVER_FAILING_MEMORY_H_

#include <cstdint>

namespace whipsnake::server {

// While it exists, the thread's first `allocations` calls of operator new succeed, the next one
// throws std::bad_alloc, and all after it succeed.
class FailingMemory {
 public:
  explicit FailingMemory(int64_t allocations);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;

  // Whether an allocation has failed.
  bool failed() const;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_FAILING_MEMORY_H_
