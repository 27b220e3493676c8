// SlimFit's scheduler: the spec's properties, and a plain ranking to compare with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "engine/finetune/freezing/layer_scheduler.h"
#include "tests/engine/finetune/scheduler_support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

FreezingSettings Published(double rate) {
  return {.scheduler = SchedulerKind::kSlimFit, .recipe = FreezingRecipe::kPublished, .rate = rate};
}

FreezingSettings ByBytes(double rate) {
  return {.scheduler = SchedulerKind::kSlimFit, .rate = rate};
}

// Chooses, and gives each active layer the distance that is listed for it.
ActiveLayers Step(LayerScheduler& scheduler, const std::vector<double>& distances,
                  double learning_rate = 1e-3) {
  const ActiveLayers active = scheduler.Choose(0);
  std::vector<LayerMeasure> measures;
  for (size_t i = 0; i < active.size(); ++i) {
    if (!active[i]) continue;
    measures.push_back({.layer = static_cast<int64_t>(i),
                        .distance = distances[i],
                        .guarded_distance = distances[i]});
  }
  scheduler.Observe(0, learning_rate, measures);
  return active;
}

// Runs until all layers have been measured.
void Sweep(LayerScheduler& scheduler, const std::vector<double>& distances) {
  for (size_t i = 0; i < distances.size(); ++i) Step(scheduler, distances);
}

TEST(SlimFitTest, FreezesThePartThatTheRateSays) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto layers = RandomLayers(random, 0);
    const int64_t t = std::ssize(layers);
    const double rate = std::uniform_real_distribution<double>(0, 0.999)(random);
    const auto p = static_cast<int64_t>(std::floor(rate * t));
    const auto scheduler = MakeScheduler(Published(rate), layers, round);
    const auto sets = RunSteps(*scheduler, 0, 50);
    for (const ActiveLayers& active : sets) EXPECT_EQ(CountActive(active), t - p);
    // The first sweep.
    const int64_t whole = t / (t - p), all = (t + t - p - 1) / (t - p);
    EXPECT_THAT(Activations({sets.begin(), sets.begin() + whole}), Each(Le(1)));
    EXPECT_THAT(Activations({sets.begin(), sets.begin() + all}), Each(Ge(1)));
  }
}

// BERT of the paper: 102 layers at 95%.
TEST(SlimFitTest, CoversBertInSeventeenSteps) {
  const auto sets = RunSteps(*MakeScheduler(Published(0.95), EqualLayers(102)), 0, 17);
  EXPECT_EQ(CountActive(sets[0]), 6);
  EXPECT_THAT(Activations(sets), Each(1));
}

TEST(SlimFitTest, TheFirstSweepHasARandomOrder) {
  const auto first = [](uint64_t seed) {
    return MakeScheduler(Published(0.9), EqualLayers(20), seed)->Choose(0);
  };
  std::vector<ActiveLayers> sets;
  for (uint64_t seed = 0; seed < 1000; ++seed) sets.push_back(first(seed));
  // Each is in 2 of 20 sets on average; the deviation of the count is 9.5.
  EXPECT_THAT(Activations(sets), Each(::testing::AllOf(Ge(55), Le(145))));
}

TEST(SlimFitTest, AFrozenLayerKeepsItsScore) {
  const auto scheduler = MakeScheduler(Published(0.7), EqualLayers(20));
  json before = scheduler->State()["scores"];
  for (int64_t step = 0; step < 100; ++step) {
    const ActiveLayers active = scheduler->Choose(step);
    EXPECT_EQ(scheduler->State()["scores"], before);
    scheduler->Observe(step, 1e-3, SomeMeasures(active, step));
    const json after = scheduler->State()["scores"];
    for (size_t i = 0; i < active.size(); ++i) {
      const json expected = active[i] ? json(SomeMeasure(i, step).distance) : before[i];
      EXPECT_EQ(after[i], expected) << "step " << step << " layer " << i;
    }
    before = after;
  }
}

// The published algorithm in its own words: sort by score, the p smallest are frozen.
TEST(SlimFitTest, TheLargestScoresAreActive) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    const int64_t t = 1 + static_cast<int64_t>(random() % 30);
    std::vector<double> distances;
    for (int64_t i = 0; i < t; ++i) {
      const double choices[] = {0, 1, 1, 2, 1e-300, 1e300, kInfinity, kNaN};
      distances.push_back(choices[random() % std::size(choices)]);
    }
    const double rate = std::uniform_real_distribution<double>(0, 0.999)(random);
    const auto scheduler = MakeScheduler(Published(rate), EqualLayers(t));
    Sweep(*scheduler, distances);
    std::vector<int64_t> order(t);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const auto key = [&](int64_t i) {
        const double d = distances[i];
        return std::tuple(std::isnan(d), std::isnan(d) ? 0 : d, i);
      };
      return key(a) < key(b);
    });
    ActiveLayers expected(t, true);
    for (int64_t i = 0; i < static_cast<int64_t>(std::floor(rate * t)); ++i) {
      expected[order[i]] = false;
    }
    EXPECT_EQ(scheduler->Choose(t), expected);
  }
}

TEST(SlimFitTest, ALoggedRunIsReplayed) {
  for (const FreezingSettings& settings : {Published(0.8), ByBytes(0.8)}) {
    std::mt19937_64 random(3);
    const auto layers = RandomLayers(random, 0.1);
    const auto scheduler = MakeScheduler(settings, layers),
               replayed = MakeScheduler(settings, layers);
    for (int64_t step = 0; step < 200; ++step) {
      const ActiveLayers active = scheduler->Choose(step);
      EXPECT_EQ(replayed->Choose(step), active) << "step " << step;
      const auto log = SomeMeasures(active, step);
      const double learning_rate = step % 10 == 3 ? 0 : 1e-3;
      scheduler->Observe(step, learning_rate, log);
      replayed->Observe(step, learning_rate, log);
    }
  }
}

TEST(SlimFitTest, AStepWithoutALearningRateMeasuresNothing) {
  const std::vector<double> distances = {3, 1, 2, 4}, zeros(4, 0.0);
  FreezingSettings settings = Published(0.5);
  settings.refresh_at_zero_rate = false;
  const auto scheduler = MakeScheduler(settings, EqualLayers(4));
  // Before the first sweep, after it, and the same layers stay in turn.
  const ActiveLayers first = Step(*scheduler, zeros, 0);
  EXPECT_EQ(Step(*scheduler, distances), first);
  Sweep(*scheduler, distances);
  const json before = scheduler->State();
  EXPECT_EQ(Step(*scheduler, zeros, 0), (ActiveLayers{true, false, false, true}));
  EXPECT_EQ(scheduler->State(), before);
}

// The fault of the published scheduler: what is measured at a learning rate of 0 is never chosen
// again.
TEST(SlimFitTest, ThePublishedSchedulerMeasuresAStepWithoutALearningRate) {
  const auto scheduler = MakeScheduler(Published(0.5), EqualLayers(4));
  const ActiveLayers first = Step(*scheduler, {0, 0, 0, 0}, 0);
  for (int step = 0; step < 20; ++step) {
    const ActiveLayers active = Step(*scheduler, {1, 1, 1, 1});
    for (size_t i = 0; i < active.size(); ++i) EXPECT_NE(active[i], first[i]);
  }
}

TEST(SlimFitTest, EachScoreIsOfItsFormula) {
  const LayerMeasure measure{.layer = 0,
                             .distance = 3,
                             .guarded_distance = 2,
                             .change_norm = 10,
                             .value_norm = 4,
                             .gradient_norm = 7};
  const std::pair<LayerScore, double> expected[] = {{LayerScore::kDistance, 3},
                                                    {LayerScore::kGuardedDistance, 2},
                                                    {LayerScore::kNormRatio, 2.5},
                                                    {LayerScore::kDistancePerRate, 4},
                                                    {LayerScore::kGradientNorm, 7}};
  for (const auto& [score, value] : expected) {
    const auto scheduler =
        MakeScheduler({.scheduler = SchedulerKind::kSlimFit, .score = score}, EqualLayers(1));
    scheduler->Observe(0, 0.5, {&measure, 1});
    EXPECT_EQ(scheduler->State()["scores"][0], value) << Name(score);
  }
}

// Bytes 50, 30, 30, 15, 5 with a budget of 65 of 130: by falling score, what does not fit is passed
// over.
TEST(SlimFitTest, TakesWhatFitsByFallingScore) {
  auto layers = EqualLayers(5);
  const int64_t bytes[] = {50, 30, 30, 15, 5};
  for (size_t i = 0; i < layers.size(); ++i) layers[i].dynamic_bytes = bytes[i];
  const auto choose = [&](const std::vector<double>& distances) {
    const auto scheduler = MakeScheduler(ByBytes(0.5), layers);
    Sweep(*scheduler, distances);
    return scheduler->Choose(99);
  };
  EXPECT_EQ(choose({5, 4, 3, 2, 1}), (ActiveLayers{true, false, false, true, false}));
  EXPECT_EQ(choose({1, 5, 4, 3, 2}), (ActiveLayers{false, true, true, false, true}));
  EXPECT_EQ(choose({5, 4, 3, 1, 2}), (ActiveLayers{true, false, false, false, true}));
  // One that must be active counts first, and the first of the others need not fit.
  layers[4].always_active = true;
  EXPECT_EQ(choose({1, 5, 4, 3, 2}), (ActiveLayers{false, true, true, false, true}));
  layers[4].dynamic_bytes = 1000;
  EXPECT_EQ(choose({1, 5, 4, 3, 2}), (ActiveLayers{false, true, false, false, true}));
  layers[3].dynamic_bytes = 10000;
  EXPECT_EQ(choose({1, 2, 3, 5, 4}), (ActiveLayers{false, false, false, true, true}));
}

// Each step takes the first layer of the order whatever its bytes, so equal scores starve none in
// the first sweep.
TEST(SlimFitTest, ByBytesTheFirstSweepTakesNoMoreStepsThanLayers) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 100; ++round) {
    const auto layers = RandomLayers(random, 0);
    const auto scheduler =
        MakeScheduler(ByBytes(std::uniform_real_distribution<double>(0, 0.999)(random)), layers);
    std::vector<ActiveLayers> sets;
    for (size_t i = 0; i < layers.size(); ++i) {
      sets.push_back(Step(*scheduler, std::vector<double>(layers.size(), 1)));
    }
    EXPECT_THAT(Activations(sets), Each(Ge(1)));
  }
}

// As learning rates fall, distances do: then layers rotate, though frozen scores stay.
TEST(SlimFitTest, FallingDistancesStarveNoLayer) {
  std::mt19937_64 random(5);
  for (const FreezingSettings& settings : {Published(0.9), ByBytes(0.9)}) {
    const auto layers = RandomLayers(random, 0);
    const auto scheduler = MakeScheduler(settings, layers);
    std::vector<ActiveLayers> sets;
    for (size_t step = 0; step < 10 * layers.size(); ++step) {
      sets.push_back(Step(*scheduler, std::vector<double>(layers.size(), 1.0 / (step + 1))));
    }
    EXPECT_THAT(Activations(sets), Each(Ge(8)));
  }
}

TEST(SlimFitTest, ScoresThatJsonLacksAreInTheState) {
  const auto scheduler = MakeScheduler(Published(0.5), EqualLayers(6));
  Sweep(*scheduler, {kNaN, kInfinity, -kInfinity, 0.1, 1e-320, 5});
  const json state = json::parse(scheduler->State().dump());
  EXPECT_EQ(state["scores"], json({"nan", "inf", "-inf", 0.1, 1e-320, 5.0}));
  const auto restored = MakeScheduler(Published(0.5), EqualLayers(6));
  ASSERT_THAT(restored->Restore(state), IsOk());
  EXPECT_EQ(restored->Choose(0), (ActiveLayers{true, true, false, false, false, true}));
}

}  // namespace
}  // namespace whipsnake::engine
