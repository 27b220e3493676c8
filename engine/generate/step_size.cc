#include "engine/generate/step_size.h"

#include <algorithm>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Halves the prompt tokens or the sequences of a step. Returns false if the step is the smallest.
bool HalveStep(BatcherOptions& options) {
  const bool shorter = options.prefill_chunk_tokens > kMinChunkTokens;
  const bool fewer = options.max_running > 1;
  if (shorter && (options.prefill_chunk_tokens >= options.max_running || !fewer)) {
    options.prefill_chunk_tokens = std::max(options.prefill_chunk_tokens / 2, kMinChunkTokens);
    options.mixed_chunk_tokens = std::min(options.mixed_chunk_tokens, options.prefill_chunk_tokens);
    return true;
  }
  if (fewer) options.max_running /= 2;
  return fewer;
}

}  // namespace

BatchSize LargestStep(const BatcherOptions& options) {
  return {.rows = std::max(options.prefill_chunk_tokens,
                           options.max_running + options.mixed_chunk_tokens),
          .logit_rows = options.max_running};
}

absl::StatusOr<BatcherOptions> FitSteps(BatcherOptions options, Model& model, Ledger* ledger) {
  while (true) {
    const BatchSize largest = LargestStep(options);
    BatcherOptions smaller = options;
    const bool is_smallest = !HalveStep(smaller);
    const int64_t bytes = model.WorkspaceBytes(largest);
    absl::Status fits =
        ledger == nullptr || is_smallest
            ? absl::OkStatus()
            : ledger->CheckFits(2 * bytes, "workspace of a forward pass, and sequences beside it");
    if (fits.ok()) fits = model.ReserveWorkspace(largest);
    if (fits.ok()) return options;
    if (is_smallest) return fits;
    options = smaller;
  }
}

}  // namespace whipsnake::engine
