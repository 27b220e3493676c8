// Patterns for the names of parameters.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_NAME_PATTERN_H_
#define WHIPSNAKE_ENGINE_FINETUNE_NAME_PATTERN_H_

#include <string_view>

#include "absl/status/status.h"
#include "engine/layers/training/trainable_parameter.h"

namespace whipsnake::engine {

// Whether `name` matches a pattern in which * stands for any text: "transformer.h.0.*". Takes time
// proportional to the product of the lengths at most.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// Returns INVALID_ARGUMENT about `field` if no parameter's name matches.
absl::Status CheckMatchesAny(std::string_view field, std::string_view pattern,
                             const TrainableParameters& parameters);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_NAME_PATTERN_H_
