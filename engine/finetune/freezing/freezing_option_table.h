// The options of schedulers: their keys in JSON documents, and which scheduler takes which.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTION_TABLE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTION_TABLE_H_

#include <initializer_list>

#include "engine/finetune/freezing/freezing_options.h"

namespace whipsnake::engine {

// A set of schedulers.
class SchedulerSet {
 public:
  constexpr SchedulerSet(std::initializer_list<SchedulerKind> kinds) {
    for (const SchedulerKind kind : kinds) bits_ |= 1u << static_cast<int>(kind);
  }
  constexpr bool Contains(SchedulerKind kind) const {
    return (bits_ >> static_cast<int>(kind)) % 2 == 1;
  }

 private:
  unsigned bits_ = 0;
};

// The schedulers with a budget, which the rate and the unit say.
inline constexpr SchedulerSet kBudgetedSchedulers{
    SchedulerKind::kStaticTop, SchedulerKind::kRandom, SchedulerKind::kRoundRobin,
    SchedulerKind::kSlimFit,   SchedulerKind::kLisa,   SchedulerKind::kMisa};

// Calls visit(key, takers, setting, option) for each option beside the scheduler and the recipe.
// `takers` are the schedulers that take it; `setting` and `option` point to the members of
// FreezingSettings and FreezingOptions.
template <typename Visit>
void ForEachFreezingOption(Visit visit) {
  using enum SchedulerKind;
  using Settings = FreezingSettings;
  using Options = FreezingOptions;
  constexpr SchedulerSet kFreezing{kStaticTop, kRandom, kRoundRobin, kSlimFit,
                                   kLisa,      kBAdam,  kMisa};
  constexpr SchedulerSet kSwitching{kRandom, kLisa, kBAdam, kMisa};

  visit("freezing_rate", kBudgetedSchedulers, &Settings::rate, &Options::rate);
  visit("freezing_unit", kBudgetedSchedulers, &Settings::unit, &Options::unit);
  visit("score", SchedulerSet{kSlimFit}, &Settings::score, &Options::score);
  visit("refresh_at_zero_rate", SchedulerSet{kSlimFit}, &Settings::refresh_at_zero_rate,
        &Options::refresh_at_zero_rate);
  visit("legacy_drift", kFreezing, &Settings::legacy_drift, &Options::legacy_drift);
  visit("train_biases", kFreezing, &Settings::train_biases, &Options::train_biases);
  visit("switch_every", kSwitching, &Settings::switch_every, &Options::switch_every);
  visit("lisa_blocks", SchedulerSet{kLisa}, &Settings::lisa_blocks, &Options::lisa_blocks);
  visit("badam_order", SchedulerSet{kBAdam}, &Settings::badam_order, &Options::badam_order);
  visit("misa_temperature", SchedulerSet{kMisa}, &Settings::misa_temperature,
        &Options::misa_temperature);
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_FREEZING_OPTION_TABLE_H_
