// The settings of freezing: which layers of a model train in a step.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTIONS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTIONS_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// The functions Parse... return INVALID_ARGUMENT, naming the known names, for another name.

// Each scheduler's file says what it does.
enum class SchedulerKind {
  kFull,
  kStaticTop,
  kRandom,
  kRoundRobin,
  kSlimFit,
  kLisa,
  kBAdam,
  kMisa
};
// "full", "static-top", "random", "round-robin", "slimfit", "lisa", "badam", "misa".
std::string_view Name(SchedulerKind kind);
absl::StatusOr<SchedulerKind> ParseSchedulerKind(std::string_view name);

// A preset of the options. The published one is that of SlimFit's authors (arXiv 2305.18513).
enum class FreezingRecipe { kDefault, kPublished };
// "default", "published".
std::string_view Name(FreezingRecipe recipe);
absl::StatusOr<FreezingRecipe> ParseFreezingRecipe(std::string_view name);

// What the freezing rate is a part of.
enum class FreezingUnit {
  kBytes,   // the dynamic bytes of all layers
  kLayers,  // the number of layers
};
// "bytes", "layers".
std::string_view Name(FreezingUnit unit);
absl::StatusOr<FreezingUnit> ParseFreezingUnit(std::string_view name);

// How much a weight changed in an update, by which SlimFit ranks layers. w are the values before
// the update, Δ are the changes.
enum class LayerScore {
  kDistance,         // the mean of |Δ/w|, as published
  kGuardedDistance,  // the same with a lower bound of |w|
  kNormRatio,        // ‖Δ‖/‖w‖
  kDistancePerRate,  // the guarded distance over the learning rate; NaN if both are 0
  kGradientNorm,
};
// "distance", "guarded-distance", "norm-ratio", "distance-per-rate", "gradient-norm".
std::string_view Name(LayerScore score);
absl::StatusOr<LayerScore> ParseLayerScore(std::string_view name);

// The order in which BAdam visits the blocks.
enum class BlockOrder {
  kRandom,      // another one in each pass over the blocks
  kAscending,   // from the input to the output
  kDescending,  // from the output to the input
};
// "random", "ascending", "descending".
std::string_view Name(BlockOrder order);
absl::StatusOr<BlockOrder> ParseBlockOrder(std::string_view name);

// Which scheduler takes which option: freezing_option_table.h. The others are then without effect.
struct FreezingOptions {
  SchedulerKind scheduler = SchedulerKind::kFull;
  FreezingRecipe recipe = FreezingRecipe::kDefault;
  double rate = 0.9;  // the part that is frozen, in [0,1)
  FreezingUnit unit = FreezingUnit::kBytes;
  LayerScore score = LayerScore::kGuardedDistance;
  // Whether a step whose learning rate is 0, which changes nothing, measures its layers.
  bool refresh_at_zero_rate = false;
  // Whether frozen tensors that have trained before keep moving by their momentum and weight decay.
  bool legacy_drift = false;
  // Whether the parameters of a layer other than its first, such as biases, train in every step.
  bool train_biases = false;
  int64_t switch_every = 1;  // steps from one choice to the next
  // At a time; 0: as many as the rate and the unit allow, which count only then.
  int64_t lisa_blocks = 0;
  BlockOrder badam_order = BlockOrder::kRandom;
  double misa_temperature = 1;  // the inverse of the paper's η
};

// The options as they are given. What is unset takes the value of the recipe and the scheduler.
struct FreezingSettings {
  SchedulerKind scheduler = SchedulerKind::kFull;
  FreezingRecipe recipe = FreezingRecipe::kDefault;
  std::optional<double> rate = {};
  std::optional<FreezingUnit> unit = {};
  std::optional<LayerScore> score = {};
  std::optional<bool> refresh_at_zero_rate = {};
  std::optional<bool> legacy_drift = {};
  std::optional<bool> train_biases = {};
  std::optional<int64_t> switch_every = {};
  std::optional<int64_t> lisa_blocks = {};
  std::optional<BlockOrder> badam_order = {};
  std::optional<double> misa_temperature = {};
};

// Whether the rate says how much is active.
bool HasBudget(const FreezingOptions& options);

// Returns INVALID_ARGUMENT, naming the option, if the scheduler does not take one that is given, or
// if a value is out of range.
absl::StatusOr<FreezingOptions> Resolve(const FreezingSettings& settings);

// Returns INVALID_ARGUMENT, naming the first option whose value is out of range.
absl::Status Validate(const FreezingOptions& options);

// The scheduler, its recipe, and the options that it takes, under the keys of the table.
nlohmann::json ToJson(const FreezingOptions& options);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTIONS_H_
