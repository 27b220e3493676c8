#include "engine/finetune/name_pattern.h"

#include <algorithm>

#include "engine/base/status.h"

namespace whipsnake::engine {

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0;
  // After a mismatch, the last star takes one more character.
  size_t after_star = std::string_view::npos, star_end = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_end = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (after_star != std::string_view::npos) {
      p = after_star;
      n = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

absl::Status CheckMatchesAny(std::string_view field, std::string_view pattern,
                             const TrainableParameters& parameters) {
  const bool any = std::ranges::any_of(parameters.all(), [&](const TrainableParameter& parameter) {
    return MatchesPattern(pattern, parameter.name);
  });
  if (any || parameters.all().empty()) return absl::OkStatus();
  return InvalidField(field, Quoted(pattern),
                      absl::StrCat("a pattern that matches a tensor of the model, such as ",
                                   Quoted(parameters.all().back().name)));
}

}  // namespace whipsnake::engine
