// Splits a text at the matches of a pattern.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_SPLIT_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_SPLIT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"
#include "engine/tokenizer/regex.h"

namespace whipsnake::engine {

// {"String": literal} or {"Regex": expression}. Immutable and thread-safe.
class Pattern {
 public:
  static absl::StatusOr<Pattern> Parse(const JsonView& view);

  // Appends the matches in well-formed `text`, in order and without overlaps. Errors as from
  // Regex::FindAll.
  absl::Status FindAll(std::string_view text, std::vector<Span>* matches) const;

 private:
  std::string literal_;
  std::optional<Regex> regex_;  // if set, used instead of the literal
};

// What happens to a match: it becomes its own piece, is removed, or is merged with its neighbours.
enum class SplitBehavior { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };
absl::StatusOr<SplitBehavior> ParseSplitBehavior(const JsonView& view);

// Appends the non-empty pieces of `text`. With `invert`, the parts between the matches are treated
// as the matches.
void Split(std::string_view text, const std::vector<Span>& matches, SplitBehavior behavior,
           bool invert, std::vector<std::string_view>* pieces);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_SPLIT_H_
