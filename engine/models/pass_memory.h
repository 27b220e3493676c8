// The memory of a model's forward passes.
#ifndef WHIPSNAKE_ENGINE_MODELS_PASS_MEMORY_H_
#define WHIPSNAKE_ENGINE_MODELS_PASS_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "engine/base/executor.h"
#include "engine/base/memory.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// The memory in which a model's passes compute. Not thread-safe: one pass at a time.
class PassMemory {
 public:
  // Bytes for a pass: the model's own, and those that kernels keep on the executor's threads, which
  // all models share.
  struct Need {
    int64_t own = 0;
    int64_t shared = 0;
  };

  explicit PassMemory(const ModelEnvironment& environment)
      : executor_(*environment.executor),
        ledger_(*environment.ledger),
        priority_(environment.background ? Priority::kTraining : Priority::kPrefill) {}

  // Grows the memory if it is too small. It never shrinks, and loses its contents when it grows.
  // Returns RESOURCE_EXHAUSTED if the ledger refuses.
  absl::Status Reserve(const Need& need);
  // Aligned as Arena requires.
  std::byte* data() const { return own_.data(); }

 private:
  Executor& executor_;
  Ledger& ledger_;
  const Priority priority_;  // of the passes, or a more urgent one of serving
  Buffer own_;
  int64_t shared_bytes_ = 0;
  std::shared_ptr<const void> shared_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_PASS_MEMORY_H_
