// One number for each layer that has been measured, and their form in a scheduler's state.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_NUMBERS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_NUMBERS_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// By layer; unset: not measured yet.
using LayerNumbers = std::vector<std::optional<double>>;

// A list with null for an unset number, and with "inf", "-inf" and "nan", which JSON does not have
// as numbers. Finite numbers keep all digits.
nlohmann::json LayerNumbersToJson(const LayerNumbers& numbers);
// The inverse, for the list under `key`. Returns INVALID_ARGUMENT, naming the key, unless it is
// such a list for `layers` layers.
absl::StatusOr<LayerNumbers> ParseLayerNumbers(const nlohmann::json& state, const char* key,
                                               int64_t layers);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_LAYER_NUMBERS_H_
