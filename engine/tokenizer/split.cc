#include "engine/tokenizer/split.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

struct Part {
  Span span;
  bool match;
};

// Returns the matches and the parts between them, which together cover the whole text. `invert`
// swaps their roles.
std::vector<Part> Cover(size_t size, const std::vector<Span>& matches, bool invert) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  size_t covered = 0;
  for (const Span& match : matches) {
    if (covered != match.begin) parts.push_back({{covered, match.begin}, invert});
    parts.push_back({match, !invert});
    covered = match.end;
  }
  if (covered != size) parts.push_back({{covered, size}, invert});
  return parts;
}

// Joins each part for which `joins(is a match, previous was a match)` is true to the part before
// it.
template <typename Joins>
std::vector<Span> Join(const std::vector<Part>& parts, Joins joins) {
  std::vector<Span> joined;
  bool previous = false;
  for (const Part& part : parts) {
    if (!joined.empty() && joins(part.match, previous)) {
      joined.back() = {std::min(joined.back().begin, part.span.begin),
                       std::max(joined.back().end, part.span.end)};
    } else {
      joined.push_back(part.span);
    }
    previous = part.match;
  }
  return joined;
}

bool FirstOfMatches(bool match, bool previous) { return match && !previous; }

}  // namespace

absl::StatusOr<Pattern> Pattern::Parse(const JsonView& view) {
  Pattern pattern;
  if (!view["Regex"].is_null()) {
    ASSIGN_OR_RETURN(pattern.regex_, Regex::Compile(view["Regex"]));
    return pattern;
  }
  if (view["String"].is_null()) return view.Invalid("an object with \"String\" or \"Regex\"");
  ASSIGN_OR_RETURN(pattern.literal_, view["String"].Text());
  if (pattern.literal_.empty()) return view["String"].Invalid("a string that is not empty");
  return pattern;
}

absl::Status Pattern::FindAll(std::string_view text, std::vector<Span>* matches) const {
  if (regex_) return regex_->FindAll(text, matches);
  for (size_t begin = text.find(literal_); begin != std::string_view::npos;
       begin = text.find(literal_, begin + literal_.size())) {
    matches->push_back({begin, begin + literal_.size()});
  }
  return absl::OkStatus();
}

absl::StatusOr<SplitBehavior> ParseSplitBehavior(const JsonView& view) {
  ASSIGN_OR_RETURN(const std::string name, view.Text());
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  return view.Invalid("Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext");
}

void Split(std::string_view text, const std::vector<Span>& matches, SplitBehavior behavior,
           bool invert, std::vector<std::string_view>* pieces) {
  std::vector<Part> parts = Cover(text.size(), matches, invert);
  std::vector<Span> spans;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      [[fallthrough]];
    case SplitBehavior::kIsolated:
      spans = Join(parts, [](bool, bool) { return false; });
      break;
    case SplitBehavior::kContiguous:
      spans = Join(parts, [](bool match, bool previous) { return match == previous; });
      break;
    case SplitBehavior::kMergedWithPrevious:
      spans = Join(parts, FirstOfMatches);
      break;
    case SplitBehavior::kMergedWithNext:
      std::reverse(parts.begin(), parts.end());
      spans = Join(parts, FirstOfMatches);
      std::reverse(spans.begin(), spans.end());
      break;
  }
  for (const Span& span : spans) {
    if (span.begin != span.end) pieces->push_back(text.substr(span.begin, span.end - span.begin));
  }
}

}  // namespace whipsnake::engine
