// Settings of freezing, their recipes and their JSON form.
#include "engine/finetune/freezing/freezing_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/finetune/freezing/freezing_option_table.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

template <typename Enum>
void ExpectNames(std::vector<const char*> names, absl::StatusOr<Enum> (*parse)(std::string_view),
                 const char* field) {
  for (size_t i = 0; i < names.size(); ++i) {
    ASSERT_THAT(parse(names[i]), IsOk());
    EXPECT_EQ(*parse(names[i]), static_cast<Enum>(i));
    EXPECT_EQ(Name(static_cast<Enum>(i)), names[i]);
  }
  EXPECT_THAT(parse("other"),
              Fails(absl::StatusCode::kInvalidArgument, std::string(field) + ": \"other\" seen"));
  EXPECT_THAT(parse("other"), Fails(absl::StatusCode::kInvalidArgument, names.back()));
}

TEST(FreezingOptionsTest, NamesAreParsed) {
  ExpectNames({"full", "static-top", "random", "round-robin", "slimfit", "lisa", "badam", "misa"},
              ParseSchedulerKind, "scheduler");
  ExpectNames({"default", "published"}, ParseFreezingRecipe, "recipe");
  ExpectNames({"bytes", "layers"}, ParseFreezingUnit, "freezing_unit");
  ExpectNames({"distance", "guarded-distance", "norm-ratio", "distance-per-rate", "gradient-norm"},
              ParseLayerScore, "score");
  ExpectNames({"random", "ascending", "descending"}, ParseBlockOrder, "badam_order");
}

TEST(FreezingOptionsTest, TheRecipeSetsWhatIsNotGiven) {
  EXPECT_EQ(ToJson(*Resolve({.scheduler = SchedulerKind::kSlimFit})),
            json({
                {"scheduler", "slimfit"},
                {"recipe", "default"},
                {"freezing_rate", 0.9},
                {"freezing_unit", "bytes"},
                {"score", "guarded-distance"},
                {"refresh_at_zero_rate", false},
                {"legacy_drift", false},
                {"train_biases", false},
            }));
  EXPECT_EQ(ToJson(*Resolve({.scheduler = SchedulerKind::kSlimFit,
                             .recipe = FreezingRecipe::kPublished,
                             .rate = 0.95,
                             .score = LayerScore::kNormRatio})),
            json({
                {"scheduler", "slimfit"},
                {"recipe", "published"},
                {"freezing_rate", 0.95},
                {"freezing_unit", "layers"},
                {"score", "norm-ratio"},
                {"refresh_at_zero_rate", true},
                {"legacy_drift", false},
                {"train_biases", true},
            }));
}

TEST(FreezingOptionsTest, TheDocumentHasWhatTheSchedulerTakes) {
  EXPECT_EQ(ToJson(*Resolve({})), json({{"scheduler", "full"}}));
  EXPECT_EQ(ToJson(*Resolve({.scheduler = SchedulerKind::kBAdam})), json({
                                                                        {"scheduler", "badam"},
                                                                        {"recipe", "default"},
                                                                        {"legacy_drift", false},
                                                                        {"train_biases", false},
                                                                        {"switch_every", 50},
                                                                        {"badam_order", "random"},
                                                                    }));
  const json lisa = ToJson(*Resolve({.scheduler = SchedulerKind::kLisa}));
  EXPECT_EQ(lisa["lisa_blocks"], 0);
  EXPECT_EQ(lisa["switch_every"], 20);
  EXPECT_TRUE(lisa.contains("freezing_rate"));
  const json two = ToJson(*Resolve({.scheduler = SchedulerKind::kLisa, .lisa_blocks = 2}));
  EXPECT_FALSE(two.contains("freezing_rate"));
  EXPECT_FALSE(two.contains("freezing_unit"));
  EXPECT_EQ(ToJson(*Resolve({.scheduler = SchedulerKind::kMisa}))["misa_temperature"], 1);
}

TEST(FreezingOptionsTest, RefusesAnOptionOfAnotherScheduler) {
  const auto fails = [](const char* text) {
    return Fails(absl::StatusCode::kInvalidArgument, text);
  };
  EXPECT_THAT(Resolve({.rate = 0.5}), fails("freezing_rate: 0.5 seen, expected nothing with "
                                            "scheduler full: it is an option of static-top, "
                                            "random, round-robin, slimfit, lisa, misa"));
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kSlimFit, .switch_every = 20}),
              fails("switch_every: 20 seen"));
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kRandom, .score = LayerScore::kNormRatio}),
              fails("score: \"norm-ratio\" seen, expected nothing with scheduler random: it is an "
                    "option of slimfit"));
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kLisa, .rate = 0.5, .lisa_blocks = 2}),
              fails("lisa_blocks: 2 seen"));
  EXPECT_THAT(
      Resolve({.scheduler = SchedulerKind::kLisa, .unit = FreezingUnit::kBytes, .lisa_blocks = 2}),
      fails("lisa_blocks: 2 seen"));
}

// Each option is refused by each scheduler that does not take it, and kept by the others.
TEST(FreezingOptionsTest, TheTableIsWhatResolveObeys) {
  std::set<std::string> keys;
  ForEachFreezingOption(
      [&](const char* key, const SchedulerSet& takers, auto setting, auto option) {
        EXPECT_TRUE(keys.insert(key).second) << key;
        for (int kind = 0; kind <= static_cast<int>(SchedulerKind::kMisa); ++kind) {
          FreezingSettings settings{.scheduler = static_cast<SchedulerKind>(kind)};
          using Value = typename std::decay_t<decltype(settings.*setting)>::value_type;
          FreezingOptions values;
          values.rate = 0.125;
          values.switch_every = 12;
          values.misa_temperature = 0.5;
          settings.*setting = static_cast<Value>(values.*option);
          const auto resolved = Resolve(settings);
          EXPECT_EQ(resolved.ok(), takers.Contains(settings.scheduler)) << key << " " << kind;
          if (resolved.ok()) {
            EXPECT_EQ(*resolved.*option, values.*option) << key;
            EXPECT_TRUE(ToJson(*resolved).contains(key)) << key;
          } else {
            EXPECT_THAT(resolved, Fails(absl::StatusCode::kInvalidArgument, key));
          }
        }
      });
  EXPECT_EQ(keys.size(), 10u);
}

TEST(FreezingOptionsTest, RefusesValuesOutOfRange) {
  for (const double rate : {1.0, -0.1, 1.5, double{NAN}, double{INFINITY}}) {
    EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kSlimFit, .rate = rate}),
                Fails(absl::StatusCode::kInvalidArgument, "freezing_rate: "));
  }
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kSlimFit, .rate = 0}), IsOk());
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kRandom, .switch_every = 0}),
              Fails(absl::StatusCode::kInvalidArgument, "switch_every: 0 seen"));
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kLisa, .lisa_blocks = -1}),
              Fails(absl::StatusCode::kInvalidArgument, "lisa_blocks: -1 seen"));
  EXPECT_THAT(Resolve({.scheduler = SchedulerKind::kMisa, .misa_temperature = 0}),
              Fails(absl::StatusCode::kInvalidArgument, "misa_temperature: 0 seen"));
}

}  // namespace
}  // namespace whipsnake::engine
