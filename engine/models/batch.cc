#include "engine/models/batch.h"

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// The number of rows of a run whose logits are wanted.
int64_t CountOf(const Run& run) {
  switch (run.logits) {
    case LogitsOf::kNone:
      return 0;
    case LogitsOf::kLast:
      return 1;
    case LogitsOf::kAll:
      return std::ssize(run.tokens);
  }
  return 0;
}

}  // namespace

absl::Status CheckRuns(std::span<const Run> runs, const ModelInfo& info) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    if (run.tokens.empty())
      return absl::InvalidArgumentError(absl::StrCat("run ", i, ": no tokens"));
    if (run.state == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("run ", i, ": no state"));
    for (const int32_t token : run.tokens) {
      if (token < 0 || token >= info.vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            "run ", i, ": token ", token, " seen, expected 0 to ", info.vocab_size - 1));
      }
    }
    const int64_t positions = run.state->position() + std::ssize(run.tokens);
    if (info.max_positions > 0 && positions > info.max_positions) {
      return absl::InvalidArgumentError(absl::StrCat(
          "run ", i, ": ", positions, " positions seen, expected at most ", info.max_positions));
    }
  }
  return absl::OkStatus();
}

BatchSize SizeOf(std::span<const Run> runs) {
  BatchSize size;
  for (const Run& run : runs) {
    size.rows += std::ssize(run.tokens);
    size.logit_rows += CountOf(run);
  }
  return size;
}

Priority PriorityOf(std::span<const Run> runs, bool background) {
  if (background) return Priority::kTraining;
  return SizeOf(runs).rows == std::ssize(runs) ? Priority::kDecode : Priority::kPrefill;
}

std::vector<int64_t> LogitRows(std::span<const Run> runs) {
  std::vector<int64_t> rows;
  int64_t begin = 0;
  for (const Run& run : runs) {
    const int64_t end = begin + std::ssize(run.tokens);
    for (int64_t row = end - CountOf(run); row < end; ++row) rows.push_back(row);
    begin = end;
  }
  return rows;
}

}  // namespace whipsnake::engine
