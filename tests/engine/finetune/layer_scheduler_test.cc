// What holds for all schedulers.
#include "engine/finetune/freezing/layer_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/engine/finetune/scheduler_support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using ::testing::Each;

constexpr SchedulerKind kAllKinds[] = {SchedulerKind::kFull,    SchedulerKind::kStaticTop,
                                       SchedulerKind::kRandom,  SchedulerKind::kRoundRobin,
                                       SchedulerKind::kSlimFit, SchedulerKind::kLisa,
                                       SchedulerKind::kBAdam,   SchedulerKind::kMisa};

bool HasBudget(SchedulerKind kind) {
  return kind != SchedulerKind::kFull && kind != SchedulerKind::kBAdam;
}

class LayerSchedulerTest : public ::testing::TestWithParam<SchedulerKind> {
 protected:
  // A setting of the scheduler with short intervals, so that few steps see many choices.
  FreezingSettings Settings(double rate, FreezingUnit unit) const {
    FreezingSettings settings{.scheduler = GetParam()};
    if (HasBudget(GetParam())) {
      settings.rate = rate;
      settings.unit = unit;
    }
    if (GetParam() == SchedulerKind::kRandom || GetParam() == SchedulerKind::kLisa ||
        GetParam() == SchedulerKind::kBAdam || GetParam() == SchedulerKind::kMisa) {
      settings.switch_every = 3;
    }
    return settings;
  }
  FreezingSettings RandomSettings() {
    return Settings(std::uniform_real_distribution<double>(0, 0.999)(random_),
                    random_() % 2 == 0 ? FreezingUnit::kBytes : FreezingUnit::kLayers);
  }

  std::mt19937_64 random_{42};
};

TEST_P(LayerSchedulerTest, EachSetHasALayerAndThoseThatAreAlwaysActive) {
  for (int round = 0; round < 100; ++round) {
    const auto layers = RandomLayers(random_, round % 2 == 0 ? 0 : 0.2);
    const auto scheduler = MakeScheduler(RandomSettings(), layers);
    for (const ActiveLayers& active : RunSteps(*scheduler, 0, 40)) {
      ASSERT_EQ(active.size(), layers.size());
      EXPECT_GE(CountActive(active), 1);
      for (size_t i = 0; i < layers.size(); ++i) {
        EXPECT_TRUE(active[i] || !layers[i].always_active);
      }
    }
  }
}

// Only a set of the layers that must be active and of one layer or block may cost more.
TEST_P(LayerSchedulerTest, ASetIsWithinTheBudgetUnlessItIsTheLeastPossible) {
  if (!HasBudget(GetParam())) GTEST_SKIP();
  const bool by_block = GetParam() == SchedulerKind::kLisa;
  int exceptions = 0;
  for (int round = 0; round < 200; ++round) {
    const auto layers = RandomLayers(random_, round % 2 == 0 ? 0 : 0.1);
    const FreezingSettings settings = RandomSettings();
    const auto cost = [&](const ScheduledLayer& layer) -> double {
      return settings.unit == FreezingUnit::kLayers ? 1 : layer.dynamic_bytes;
    };
    double all = 0;
    for (const ScheduledLayer& layer : layers) all += cost(layer);
    const auto scheduler = MakeScheduler(settings, layers);
    for (const ActiveLayers& active : RunSteps(*scheduler, 0, 40)) {
      double spent = 0;
      std::set<int64_t> chosen;  // layers or blocks that need not be active
      for (size_t i = 0; i < layers.size(); ++i) {
        if (!active[i]) continue;
        spent += cost(layers[i]);
        if (layers[i].always_active || (by_block && layers[i].block < 0)) continue;
        chosen.insert(by_block ? layers[i].block : static_cast<int64_t>(i));
      }
      if (spent < (1 - *settings.rate) * all + 1) continue;
      EXPECT_LE(chosen.size(), 1u);
      ++exceptions;
    }
  }
  EXPECT_GT(exceptions, 0);
}

TEST_P(LayerSchedulerTest, ARateOfZeroFreezesNothing) {
  if (!HasBudget(GetParam())) GTEST_SKIP();
  for (const FreezingUnit unit : {FreezingUnit::kBytes, FreezingUnit::kLayers}) {
    const auto scheduler = MakeScheduler(Settings(0, unit), RandomLayers(random_, 0.1));
    for (const ActiveLayers& active : RunSteps(*scheduler, 0, 5)) EXPECT_THAT(active, Each(true));
  }
}

TEST_P(LayerSchedulerTest, EveryLayerHasItsTurn) {
  if (GetParam() == SchedulerKind::kStaticTop) GTEST_SKIP();
  for (int round = 0; round < 20; ++round) {
    const auto layers = RandomLayers(random_, 0.05);
    const auto scheduler = MakeScheduler(RandomSettings(), layers);
    const auto counts = Activations(RunSteps(*scheduler, 0, 3000));
    for (size_t i = 0; i < layers.size(); ++i) {
      const bool never = GetParam() == SchedulerKind::kBAdam && layers[i].block < 0;
      if (never && !layers[i].always_active) {
        EXPECT_EQ(counts[i], 0);
      } else {
        EXPECT_GE(counts[i], 1) << "round " << round << " layer " << i;
      }
    }
  }
}

TEST_P(LayerSchedulerTest, SetsAreAFunctionOfTheSeed) {
  const auto layers = EqualLayers(40);
  const auto run = [&](uint64_t seed) {
    return RunSteps(*MakeScheduler(Settings(0.9, FreezingUnit::kLayers), layers, seed), 0, 50);
  };
  EXPECT_EQ(run(1), run(1));
  const bool is_random = GetParam() != SchedulerKind::kFull &&
                         GetParam() != SchedulerKind::kStaticTop &&
                         GetParam() != SchedulerKind::kRoundRobin;
  EXPECT_EQ(run(1) != run(2), is_random);
  EXPECT_EQ(run(1) != run(uint64_t{1} << 40 | 1), is_random);
}

TEST_P(LayerSchedulerTest, ContinuesFromItsStateAsIfItHadNotStopped) {
  for (int64_t stop : {0, 1, 2, 7, 40, 101}) {
    const auto layers = RandomLayers(random_, 0.1);
    const FreezingSettings settings = RandomSettings();
    const auto scheduler = MakeScheduler(settings, layers);
    RunSteps(*scheduler, 0, stop);
    const auto restored = MakeScheduler(settings, layers);
    ASSERT_THAT(restored->Restore(json::parse(scheduler->State().dump())), IsOk());
    EXPECT_EQ(restored->State(), scheduler->State());
    EXPECT_EQ(RunSteps(*restored, stop, 100), RunSteps(*scheduler, stop, 100)) << "stop " << stop;
  }
}

TEST_P(LayerSchedulerTest, RefusesAnotherState) {
  const auto layers = EqualLayers(12);
  const FreezingSettings settings = Settings(0.5, FreezingUnit::kLayers);
  const auto scheduler = MakeScheduler(settings, layers);
  RunSteps(*scheduler, 0, 10);
  const json before = scheduler->State();
  const auto refuses = [&](const json& state, const char* key) {
    EXPECT_THAT(scheduler->Restore(state), Fails(absl::StatusCode::kInvalidArgument, key)) << state;
    EXPECT_EQ(scheduler->State(), before);
  };
  for (const SchedulerKind kind : kAllKinds) {
    if (kind == GetParam()) continue;
    refuses(MakeScheduler({.scheduler = kind}, layers)->State(), "scheduler");
  }
  refuses(MakeScheduler(settings, EqualLayers(14))->State(), "layers");
  refuses(json(), "scheduler");
  refuses(json::array(), "scheduler");
  for (const auto& [key, value] : before.items()) {
    for (const json& other : {json(), json("other"), json::array({1, "x"}), json(-1)}) {
      json state = before;
      state[key] = other;
      refuses(state, key.c_str());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LayerSchedulerTest, ::testing::ValuesIn(kAllKinds),
                         [](const auto& test) {
                           std::string name(Name(test.param));
                           std::erase(name, '-');
                           return name;
                         });

TEST(MakeLayerSchedulerTest, RefusesWhatItCannotSchedule) {
  const auto make = [](FreezingOptions options, std::vector<ScheduledLayer> layers) {
    return MakeLayerScheduler(options, std::move(layers), 0).status();
  };
  const auto fails = [](const char* text) {
    return Fails(absl::StatusCode::kInvalidArgument, text);
  };
  EXPECT_THAT(make({}, {}), fails("layers"));
  EXPECT_THAT(make({.scheduler = SchedulerKind::kRandom, .rate = 1}, EqualLayers(2)),
              fails("freezing_rate: 1 seen"));
  EXPECT_THAT(make({.scheduler = SchedulerKind::kLisa}, {{.name = "head"}}), fails("scheduler"));
  EXPECT_THAT(make({.scheduler = SchedulerKind::kBAdam}, {{.name = "head"}}), fails("scheduler"));
  EXPECT_THAT(make({.scheduler = SchedulerKind::kLisa, .lisa_blocks = 3}, EqualLayers(4)),
              fails("lisa_blocks: 3 seen"));
}

}  // namespace
}  // namespace whipsnake::engine
