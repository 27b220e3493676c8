#include "engine/finetune/freezing/freezing_options.h"

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <type_traits>

#include "engine/base/status.h"
#include "engine/finetune/freezing/freezing_option_table.h"
#include "engine/finetune/number_range.h"

namespace whipsnake::engine {
namespace {

// In the order of the enumerators.
constexpr std::string_view kSchedulers[] = {"full",    "static-top", "random", "round-robin",
                                            "slimfit", "lisa",       "badam",  "misa"};
constexpr std::string_view kRecipes[] = {"default", "published"};
constexpr std::string_view kUnits[] = {"bytes", "layers"};
constexpr std::string_view kScores[] = {"distance", "guarded-distance", "norm-ratio",
                                        "distance-per-rate", "gradient-norm"};
constexpr std::string_view kOrders[] = {"random", "ascending", "descending"};

template <typename Enum>
absl::StatusOr<Enum> Parse(std::string_view field, std::span<const std::string_view> names,
                           std::string_view name) {
  std::string known;
  for (size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
    absl::StrAppend(&known, i == 0 ? "" : i + 1 < names.size() ? ", " : " or ", ToAbsl(names[i]));
  }
  return InvalidField(field, Quoted(name), known);
}

std::string NamesOf(const SchedulerSet& schedulers) {
  std::string names;
  for (size_t i = 0; i < std::size(kSchedulers); ++i) {
    if (!schedulers.Contains(static_cast<SchedulerKind>(i))) continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(kSchedulers[i]));
  }
  return names;
}

// The value of an option as a JSON document has it.
template <typename Value>
nlohmann::json JsonOf(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return std::string(Name(value));
  } else {
    return value;
  }
}

FreezingOptions DefaultsOf(SchedulerKind scheduler, FreezingRecipe recipe) {
  FreezingOptions options{.scheduler = scheduler, .recipe = recipe};
  if (recipe == FreezingRecipe::kPublished) {
    options.unit = FreezingUnit::kLayers;
    options.score = LayerScore::kDistance;
    options.refresh_at_zero_rate = true;
    options.train_biases = true;
  }
  // The steps between two choices in the programs of the papers' authors: OptimalScale/LMFlow,
  // Ledzy/BAdam and pkumelon/MISA.
  if (scheduler == SchedulerKind::kLisa) options.switch_every = 20;
  if (scheduler == SchedulerKind::kBAdam) options.switch_every = 50;
  if (scheduler == SchedulerKind::kMisa) options.switch_every = 50;
  return options;
}

}  // namespace

std::string_view Name(SchedulerKind kind) { return kSchedulers[static_cast<int>(kind)]; }
std::string_view Name(FreezingRecipe recipe) { return kRecipes[static_cast<int>(recipe)]; }
std::string_view Name(FreezingUnit unit) { return kUnits[static_cast<int>(unit)]; }
std::string_view Name(LayerScore score) { return kScores[static_cast<int>(score)]; }
std::string_view Name(BlockOrder order) { return kOrders[static_cast<int>(order)]; }

absl::StatusOr<SchedulerKind> ParseSchedulerKind(std::string_view name) {
  return Parse<SchedulerKind>("scheduler", kSchedulers, name);
}
absl::StatusOr<FreezingRecipe> ParseFreezingRecipe(std::string_view name) {
  return Parse<FreezingRecipe>("recipe", kRecipes, name);
}
absl::StatusOr<FreezingUnit> ParseFreezingUnit(std::string_view name) {
  return Parse<FreezingUnit>("freezing_unit", kUnits, name);
}
absl::StatusOr<LayerScore> ParseLayerScore(std::string_view name) {
  return Parse<LayerScore>("score", kScores, name);
}
absl::StatusOr<BlockOrder> ParseBlockOrder(std::string_view name) {
  return Parse<BlockOrder>("badam_order", kOrders, name);
}

bool HasBudget(const FreezingOptions& options) {
  return kBudgetedSchedulers.Contains(options.scheduler) && options.lisa_blocks == 0;
}

absl::StatusOr<FreezingOptions> Resolve(const FreezingSettings& settings) {
  FreezingOptions options = DefaultsOf(settings.scheduler, settings.recipe);
  absl::Status status;
  ForEachFreezingOption([&](std::string_view key, const SchedulerSet& takers, auto setting,
                            auto option) {
    const auto& given = settings.*setting;
    if (!given) return;
    options.*option = *given;
    if (takers.Contains(settings.scheduler) || !status.ok()) return;
    status = InvalidField(key, JsonOf(*given).dump(),
                          absl::StrCat("nothing with scheduler ", ToAbsl(Name(settings.scheduler)),
                                       ": it is an option of ", NamesOf(takers)));
  });
  RETURN_IF_ERROR(status);
  if (options.lisa_blocks > 0 && (settings.rate || settings.unit)) {
    return InvalidField("lisa_blocks", absl::StrCat(options.lisa_blocks),
                        "0 with freezing_rate or freezing_unit: either the number of blocks or the "
                        "budget says how much is active");
  }
  RETURN_IF_ERROR(Validate(options));
  return options;
}

absl::Status Validate(const FreezingOptions& options) {
  if (!(options.rate >= 0 && options.rate < 1)) {
    return InvalidField("freezing_rate", absl::StrCat(options.rate),
                        "a number from 0 to below 1: at 1 nothing is active");
  }
  RETURN_IF_ERROR(CheckNumber("switch_every", static_cast<double>(options.switch_every), 1, 1e12));
  RETURN_IF_ERROR(CheckNumber("lisa_blocks", static_cast<double>(options.lisa_blocks), 0, 1e6));
  return CheckNumber("misa_temperature", options.misa_temperature, 1e-6, 1e6);
}

nlohmann::json ToJson(const FreezingOptions& options) {
  nlohmann::json json = {{"scheduler", JsonOf(options.scheduler)}};
  if (options.scheduler == SchedulerKind::kFull) return json;
  json["recipe"] = JsonOf(options.recipe);
  ForEachFreezingOption(
      [&](const char* key, const SchedulerSet& takers, auto /*setting*/, auto option) {
        if (takers.Contains(options.scheduler)) json[key] = JsonOf(options.*option);
      });
  if (options.lisa_blocks > 0) {  // which takes the place of the budget
    json.erase("freezing_rate");
    json.erase("freezing_unit");
  }
  return json;
}

}  // namespace whipsnake::engine
