// What each scheduler but SlimFit's does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/finetune/freezing/random_order.h"
#include "tests/engine/finetune/scheduler_support.h"

namespace whipsnake::engine {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;

TEST(RandomOrderTest, EqualLogitsGiveEachPermutationTheSameChance) {
  std::map<std::vector<int64_t>, int> counts;
  for (int64_t draw = 0; draw < 6000; ++draw) ++counts[RandomOrder(5, draw, int64_t{3})];
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 150);  // 5 deviations
}

TEST(RandomOrderTest, ProbabilitiesAreProportionalToTheExponentials) {
  const double logits[] = {std::log(1.0), std::log(2.0), std::log(5.0)};
  int first[3] = {}, second_after_2[3] = {};
  for (int64_t draw = 0; draw < 8000; ++draw) {
    const auto order = RandomOrder(6, draw, logits);
    ++first[order[0]];
    if (order[0] == 2) ++second_after_2[order[1]];
  }
  EXPECT_NEAR(first[0], 1000, 150);
  EXPECT_NEAR(first[1], 2000, 200);
  EXPECT_NEAR(first[2], 5000, 220);
  EXPECT_NEAR(second_after_2[0], 5000 / 3.0, 190);
}

TEST(RandomOrderTest, IsAFunctionOfTheSeedAndTheDraw) {
  std::set<std::vector<int64_t>> orders;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    for (const int64_t draw : {int64_t{0}, int64_t{1}, int64_t{1} << 32}) {
      const auto order = RandomOrder(seed, draw, int64_t{50});
      EXPECT_EQ(RandomOrder(seed, draw, int64_t{50}), order);
      EXPECT_TRUE(orders.insert(order).second);
    }
  }
  EXPECT_TRUE(RandomOrder(0, 0, int64_t{0}).empty());
}

TEST(StaticTopTest, KeepsTheLastLayers) {
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kStaticTop, .rate = 0.6}, EqualLayers(5));
  for (int64_t step = 0; step < 5; ++step) {
    EXPECT_EQ(scheduler->Choose(step), (ActiveLayers{false, false, false, true, true}));
  }
}

TEST(StaticTopTest, StopsAtTheFirstThatDoesNotFit) {
  auto layers = EqualLayers(5);
  layers[2].dynamic_bytes = 10;
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kStaticTop, .rate = 0.75}, layers);
  EXPECT_EQ(scheduler->Choose(0), (ActiveLayers{false, false, false, true, true}));
}

TEST(RandomTest, KeepsASetForTheInterval) {
  const auto scheduler = MakeScheduler(
      {.scheduler = SchedulerKind::kRandom, .rate = 0.8, .switch_every = 4}, EqualLayers(50));
  const auto sets = RunSteps(*scheduler, 0, 40);
  for (int64_t step = 1; step < 40; ++step) {
    EXPECT_EQ(sets[step] == sets[step - 1], step % 4 != 0) << "step " << step;
  }
}

TEST(RandomTest, EachLayerHasTheSameChance) {
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kRandom, .rate = 0.8}, EqualLayers(10));
  EXPECT_THAT(Activations(RunSteps(*scheduler, 0, 5000)), Each(AllOf(Ge(860), Le(1140))));
}

TEST(RoundRobinTest, GoesOnWhereItEnded) {
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kRoundRobin, .rate = 0.6}, EqualLayers(5));
  EXPECT_EQ(scheduler->Choose(0), (ActiveLayers{true, true, false, false, false}));
  EXPECT_EQ(scheduler->Choose(1), (ActiveLayers{false, false, true, true, false}));
  EXPECT_EQ(scheduler->Choose(2), (ActiveLayers{true, false, false, false, true}));
  EXPECT_EQ(scheduler->Choose(3), (ActiveLayers{false, true, true, false, false}));
}

// With equal bytes, no layer is more than one turn ahead of another.
TEST(RoundRobinTest, TurnsAreEven) {
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kRoundRobin, .rate = 0.7}, EqualLayers(17));
  for (int64_t steps : {1, 10, 100}) {
    const auto counts = Activations(RunSteps(*scheduler, 0, steps));
    EXPECT_LE(*std::ranges::max_element(counts) - *std::ranges::min_element(counts), 1);
  }
}

// Embedding, four blocks of two layers, head.
std::vector<ScheduledLayer> Blocks() {
  std::vector<ScheduledLayer> layers = {{.name = "embedding", .dynamic_bytes = 3}};
  for (int64_t i = 0; i < 8; ++i)
    layers.push_back({.name = "b", .block = i / 2, .dynamic_bytes = 1});
  layers.push_back({.name = "head", .dynamic_bytes = 1});
  return layers;
}

// The blocks that are active; each is whole or frozen.
std::vector<int64_t> ActiveBlocks(const ActiveLayers& active) {
  std::vector<int64_t> blocks;
  for (int64_t block = 0; block < 4; ++block) {
    EXPECT_EQ(active[1 + 2 * block], active[2 + 2 * block]);
    if (active[1 + 2 * block]) blocks.push_back(block);
  }
  return blocks;
}

TEST(LisaTest, TrainsRandomBlocksForAnInterval) {
  const auto scheduler = MakeScheduler(
      {.scheduler = SchedulerKind::kLisa, .switch_every = 5, .lisa_blocks = 2}, Blocks());
  std::map<std::vector<int64_t>, int> counts;
  std::vector<int64_t> last;
  for (int64_t step = 0; step < 3000; ++step) {
    const ActiveLayers active = scheduler->Choose(step);
    EXPECT_TRUE(active.front() && active.back());
    const auto blocks = ActiveBlocks(active);
    EXPECT_TRUE(blocks == last || step % 5 == 0);
    last = blocks;
    ++counts[blocks];
  }
  ASSERT_EQ(counts.size(), 6u);  // pairs of four
  for (const auto& [blocks, count] : counts) {
    EXPECT_EQ(blocks.size(), 2u);
    EXPECT_NEAR(count / 5, 100, 46);  // 5 deviations
  }
}

TEST(LisaTest, TakesAsManyBlocksAsTheBudgetAllows) {
  // 12 bytes, of which 4 are of no block.
  const auto blocks_at = [](double rate) {
    const auto scheduler =
        MakeScheduler({.scheduler = SchedulerKind::kLisa, .rate = rate}, Blocks());
    return ActiveBlocks(scheduler->Choose(0)).size();
  };
  EXPECT_EQ(blocks_at(0), 4u);
  EXPECT_EQ(blocks_at(0.3), 2u);
  EXPECT_EQ(blocks_at(0.5), 1u);
  EXPECT_EQ(blocks_at(0.9), 1u);
}

TEST(BAdamTest, VisitsEachBlockOnceInAPass) {
  const auto scheduler =
      MakeScheduler({.scheduler = SchedulerKind::kBAdam, .switch_every = 3}, Blocks());
  std::set<std::vector<int64_t>> orders;
  int64_t step = 0;
  for (int pass = 0; pass < 100; ++pass) {
    std::vector<int64_t> order;
    for (int turn = 0; turn < 4; ++turn) {
      for (int i = 0; i < 3; ++i) {
        const ActiveLayers active = scheduler->Choose(step++);
        EXPECT_FALSE(active.front() || active.back());
        const auto blocks = ActiveBlocks(active);
        ASSERT_EQ(blocks.size(), 1u);
        if (i == 0) order.push_back(blocks[0]);
        EXPECT_EQ(blocks[0], order.back());
      }
    }
    orders.insert(order);
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), 4u);
  }
  EXPECT_GT(orders.size(), 15u);  // of 24
}

TEST(BAdamTest, VisitsBlocksInTheOrderThatIsAsked) {
  for (const BlockOrder order : {BlockOrder::kAscending, BlockOrder::kDescending}) {
    auto layers = Blocks();
    layers.back().always_active = true;  // a new head
    const auto scheduler = MakeScheduler(
        {.scheduler = SchedulerKind::kBAdam, .switch_every = 1, .badam_order = order}, layers);
    for (int64_t step = 0; step < 10; ++step) {
      const ActiveLayers active = scheduler->Choose(step);
      EXPECT_TRUE(active.back());
      const int64_t block = order == BlockOrder::kAscending ? step % 4 : 3 - step % 4;
      EXPECT_EQ(ActiveBlocks(active), (std::vector{block}));
    }
  }
}

// Runs MISA with constant gradients, and returns how often each layer was active.
std::vector<int64_t> RunMisa(const FreezingSettings& settings,
                             const std::vector<ScheduledLayer>& layers,
                             const std::vector<double>& gradient_norms, int64_t steps) {
  const auto scheduler = MakeScheduler(settings, layers);
  std::vector<ActiveLayers> sets;
  for (int64_t step = 0; step < steps; ++step) {
    sets.push_back(scheduler->Choose(step));
    std::vector<LayerMeasure> measures;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (!sets.back()[i]) continue;
      measures.push_back({.layer = static_cast<int64_t>(i), .gradient_norm = gradient_norms[i]});
    }
    scheduler->Observe(step, 1e-3, measures);
  }
  return Activations(sets);
}

FreezingSettings Misa(double temperature) {
  return {.scheduler = SchedulerKind::kMisa,
          .rate = 0.75,
          .unit = FreezingUnit::kLayers,
          .switch_every = 1,
          .misa_temperature = temperature};
}

// One of four layers at a time. Squares 1, 1, 2, 4 over their mean 2 are the exponents.
TEST(MisaTest, ProbabilitiesFollowTheGradients) {
  const auto counts = RunMisa(Misa(1), EqualLayers(4), {1, 1, std::sqrt(2.0), 2}, 4004);
  const double weights[] = {std::exp(0.5), std::exp(0.5), std::exp(1.0), std::exp(2.0)};
  const double sum = weights[0] + weights[1] + weights[2] + weights[3];
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(counts[i], 1 + 4000 * weights[i] / sum, 160) << i;
}

TEST(MisaTest, TheTemperatureFlattensThem) {
  EXPECT_THAT(RunMisa(Misa(1e6), EqualLayers(4), {1, 1, 1, 100}, 4004),
              Each(AllOf(Ge(860), Le(1140))));
  // The exponent is at most 5: e^5 = 148.
  const auto counts = RunMisa(Misa(0.01), EqualLayers(4), {0, 0, 0, 1}, 4004);
  EXPECT_GT(counts[3], 3800);
  EXPECT_GT(counts[0] + counts[1] + counts[2], 40);
}

TEST(MisaTest, GradientsCountByTheirElements) {
  auto layers = EqualLayers(4);
  for (size_t i = 0; i < layers.size(); ++i) layers[i].elements = 1 << (2 * i);
  EXPECT_THAT(RunMisa(Misa(1), layers, {1, 2, 4, 8}, 4004), Each(AllOf(Ge(860), Le(1140))));
}

TEST(MisaTest, EachLayerIsMeasuredFirstThenSetsStayForTheInterval) {
  FreezingSettings settings = Misa(1);
  settings.switch_every = 10;
  const auto scheduler = MakeScheduler(settings, EqualLayers(20));  // five at a time
  const auto sets = RunSteps(*scheduler, 0, 104);
  EXPECT_THAT(Activations({sets.begin(), sets.begin() + 4}), Each(1));
  int changes = 0;
  for (int64_t step = 4; step < 104; ++step) {
    changes += sets[step] != sets[step - 1];
    // The last draw of the sweep was at step 3.
    EXPECT_TRUE(sets[step] == sets[step - 1] || step % 10 == 3);
  }
  EXPECT_GT(changes, 5);
}

TEST(MisaTest, AGradientThatIsNotFiniteLeavesTheAverage) {
  const auto scheduler = MakeScheduler(Misa(1), EqualLayers(1));
  const auto observe = [&](double norm) {
    const LayerMeasure measure{.layer = 0, .gradient_norm = norm};
    scheduler->Observe(0, 1e-3, {&measure, 1});
    return scheduler->State()["averages"][0];
  };
  EXPECT_TRUE(observe(std::numeric_limits<double>::quiet_NaN()).is_null());
  EXPECT_EQ(observe(2), 4.0);
  EXPECT_EQ(observe(std::numeric_limits<double>::infinity()), 4.0);
  EXPECT_EQ(observe(1e200), 4.0);
  EXPECT_DOUBLE_EQ(observe(0), 3.2);
  nlohmann::json state = scheduler->State();
  state["averages"][0] = "nan";
  EXPECT_THAT(scheduler->Restore(state), Fails(absl::StatusCode::kInvalidArgument, "averages"));
}

}  // namespace
}  // namespace whipsnake::engine
