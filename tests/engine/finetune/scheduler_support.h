// Layers and measures for tests of schedulers.
#ifndef WHIPSNAKE_TESTS_ENGINE_FINETUNE_SCHEDULER_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_FINETUNE_SCHEDULER_SUPPORT_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/finetune/freezing/layer_scheduler.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {

using ActiveLayers = std::vector<bool>;

// Layers of one byte each, in blocks of two.
inline std::vector<ScheduledLayer> EqualLayers(int64_t count) {
  std::vector<ScheduledLayer> layers;
  for (int64_t i = 0; i < count; ++i) {
    layers.push_back({.name = "layer" + std::to_string(i), .block = i / 2, .dynamic_bytes = 1});
  }
  return layers;
}

// Layers as a model has them: two before the first block, blocks, two after the last one. Bytes
// differ by up to six orders of magnitude.
inline std::vector<ScheduledLayer> RandomLayers(std::mt19937_64& random, double always_active) {
  std::uniform_real_distribution<double> exponent(0, 6), chance(0, 1);
  std::vector<ScheduledLayer> layers;
  const auto add = [&](int64_t block) {
    layers.push_back({.name = "layer" + std::to_string(layers.size()),
                      .block = block,
                      .elements = static_cast<int64_t>(std::pow(10, exponent(random))),
                      .dynamic_bytes = static_cast<int64_t>(std::pow(10, exponent(random))),
                      .always_active = chance(random) < always_active});
  };
  for (int i = 0; i < 2; ++i) add(-1);
  const int64_t blocks = 1 + static_cast<int64_t>(random() % 8);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t members = 1 + static_cast<int64_t>(random() % 6);
    for (int64_t i = 0; i < members; ++i) add(block);
  }
  for (int i = 0; i < 2; ++i) add(-1);
  return layers;
}

inline std::unique_ptr<LayerScheduler> MakeScheduler(const FreezingSettings& settings,
                                                     std::vector<ScheduledLayer> layers,
                                                     uint64_t seed = 7) {
  const auto options = Resolve(settings);
  EXPECT_THAT(options, IsOk());
  auto scheduler = MakeLayerScheduler(*options, std::move(layers), seed);
  EXPECT_THAT(scheduler, IsOk());
  return *std::move(scheduler);
}

// A measure whose numbers are positive and a function of the layer and the step.
inline LayerMeasure SomeMeasure(int64_t layer, int64_t step) {
  std::minstd_rand random(1000003 * step + layer + 1);
  std::uniform_real_distribution<double> exponent(-6, 2);
  const auto draw = [&] { return std::pow(10, exponent(random)); };
  return {.layer = layer,
          .distance = draw(),
          .guarded_distance = draw(),
          .change_norm = draw(),
          .value_norm = draw(),
          .gradient_norm = draw()};
}

inline std::vector<LayerMeasure> SomeMeasures(const ActiveLayers& active, int64_t step) {
  std::vector<LayerMeasure> measures;
  for (size_t layer = 0; layer < active.size(); ++layer) {
    if (active[layer]) measures.push_back(SomeMeasure(layer, step));
  }
  return measures;
}

// Returns the sets of `steps` steps from `first` on, with some measures after each.
inline std::vector<ActiveLayers> RunSteps(LayerScheduler& scheduler, int64_t first, int64_t steps) {
  std::vector<ActiveLayers> sets;
  for (int64_t step = first; step < first + steps; ++step) {
    sets.push_back(scheduler.Choose(step));
    scheduler.Observe(step, 1e-3, SomeMeasures(sets.back(), step));
  }
  return sets;
}

inline int64_t CountActive(const ActiveLayers& active) {
  return std::count(active.begin(), active.end(), true);
}

// In how many sets each layer is.
inline std::vector<int64_t> Activations(const std::vector<ActiveLayers>& sets) {
  std::vector<int64_t> counts(sets.front().size());
  for (const ActiveLayers& set : sets) {
    for (size_t layer = 0; layer < set.size(); ++layer) counts[layer] += set[layer];
  }
  return counts;
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_FINETUNE_SCHEDULER_SUPPORT_H_
