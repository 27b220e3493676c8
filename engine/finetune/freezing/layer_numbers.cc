#include "engine/finetune/freezing/layer_numbers.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

struct NamedNumber {
  const char* name;
  double number;
};
constexpr NamedNumber kNamedNumbers[] = {{"inf", std::numeric_limits<double>::infinity()},
                                         {"-inf", -std::numeric_limits<double>::infinity()},
                                         {"nan", std::numeric_limits<double>::quiet_NaN()}};

nlohmann::json ToJson(std::optional<double> number) {
  if (!number) return nullptr;
  if (std::isfinite(*number)) return *number;
  if (std::isnan(*number)) return "nan";
  return *number > 0 ? "inf" : "-inf";
}

absl::StatusOr<std::optional<double>> ParseLayerNumber(const JsonView& view) {
  if (view.is_null()) return std::optional<double>();
  if (view.value().is_number()) return std::optional(view.value().get<double>());
  for (const auto& [name, number] : kNamedNumbers) {
    if (view.IsText(name)) return std::optional(number);
  }
  return view.Invalid("a number or null");
}

}  // namespace

nlohmann::json LayerNumbersToJson(const LayerNumbers& numbers) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::optional<double>& number : numbers) list.push_back(ToJson(number));
  return list;
}

absl::StatusOr<LayerNumbers> ParseLayerNumbers(const nlohmann::json& state, const char* key,
                                               int64_t layers) {
  const JsonView view = JsonView(&state)[key];
  if (!view.value().is_array() || std::ssize(view.value()) != layers) {
    return view.Invalid(absl::StrCat("a list of ", layers, " numbers"));
  }
  ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view.Elements());
  LayerNumbers numbers;
  for (const JsonView& element : elements) {
    ASSIGN_OR_RETURN(numbers.emplace_back(), ParseLayerNumber(element));
  }
  return numbers;
}

}  // namespace whipsnake::engine
