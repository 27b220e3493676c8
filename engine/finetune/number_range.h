// Checks the range of a setting.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_NUMBER_RANGE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_NUMBER_RANGE_H_

#include <string_view>

#include "absl/status/status.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT about `field` unless `value` is in [low, high]. NaN is not.
inline absl::Status CheckNumber(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("a number from ", low, " to ", high));
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_NUMBER_RANGE_H_
