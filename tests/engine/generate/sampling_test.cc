#include "engine/generate/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "tests/engine/generate/sampler_property.h"

namespace whipsnake::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int32_t NextId(Sampler& sampler, const std::vector<float>& logits) {
  const auto token = sampler.Sample(logits, -1);
  EXPECT_TRUE(token.ok()) << token.status();
  return token->id;
}

// The share of draws that each token gets, with a new seed per draw.
std::map<int32_t, double> Shares(SamplingParameters parameters, const std::vector<float>& logits,
                                 int draws = 20000) {
  std::map<int32_t, double> shares;
  for (int i = 0; i < draws; ++i) {
    parameters.seed = i;
    Sampler sampler(parameters, logits.size(), {});
    shares[NextId(sampler, logits)] += 1.0 / draws;
  }
  return shares;
}

std::vector<float> LogOf(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST(SamplerTest, GreedyTakesTheLowestIdAmongEquals) {
  Sampler sampler({.temperature = 0}, 5, {});
  EXPECT_EQ(NextId(sampler, {1, 3, 2, 3, 0}), 1);
}

TEST(SamplerTest, PaddingIsNeverChosen) {
  Sampler sampler({.temperature = 0}, 3, {});
  EXPECT_EQ(NextId(sampler, {1, 0, 2, 100, 100}), 2);
  EXPECT_FALSE(Shares({.temperature = 100}, {0, 0, 0}).contains(3));
}

TEST(SamplerTest, DrawsFollowTheSoftmax) {
  const auto shares = Shares({}, LogOf({0.1f, 0.2f, 0.7f}));
  EXPECT_NEAR(shares.at(0), 0.1, 0.01);
  EXPECT_NEAR(shares.at(1), 0.2, 0.012);
  EXPECT_NEAR(shares.at(2), 0.7, 0.015);
}

TEST(SamplerTest, TemperatureSharpens) {
  // p^(1/T) renormalized: T = 0.5 squares 1:2 into 1:4.
  const auto shares = Shares({.temperature = 0.5f}, LogOf({1.0f / 3, 2.0f / 3}));
  EXPECT_NEAR(shares.at(0), 0.2, 0.012);
}

TEST(SamplerTest, TopKKeepsKAndPrefersLowIdsAmongEquals) {
  const auto shares = Shares({.top_k = 2}, {0, 1, 1, 1, -5}, 2000);
  EXPECT_EQ(shares.size(), 2u);
  EXPECT_TRUE(shares.contains(1) && shares.contains(2));
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = LogOf({0.05f, 0.5f, 0.3f, 0.15f});
  EXPECT_EQ(Shares({.top_p = 0.5f}, logits, 500).size(), 1u);
  EXPECT_EQ(Shares({.top_p = 0.51f}, logits, 500).size(), 2u);
  EXPECT_EQ(Shares({.top_p = 0.81f}, logits, 500).size(), 3u);
  EXPECT_EQ(Shares({.top_p = 1e-6f}, logits, 500).size(), 1u);
}

// Computes the nucleus by its definition: sort everything, sum until p is reached.
TEST(SamplerTest, TopPEqualsTheDefinitionOnRandomLogits) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 3);
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.95f}) {
    std::vector<float> logits(300);
    for (float& logit : logits) logit = normal(random);
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    double total = 0, sum = 0;
    for (const float logit : logits) total += std::exp(logit);
    std::map<int32_t, double> nucleus;
    for (const int32_t id : order) {
      if (sum >= top_p * total) break;
      sum += std::exp(logits[id]);
      nucleus[id] = std::exp(logits[id]);
    }
    const auto shares = Shares({.top_p = top_p}, logits, 4000);
    for (const auto& [id, share] : shares)
      EXPECT_TRUE(nucleus.contains(id)) << id << " at top_p " << top_p;
    for (const auto& [id, weight] : nucleus) {
      EXPECT_TRUE(weight / sum <= 0.01 || shares.contains(id)) << id << " at top_p " << top_p;
    }
  }
}

TEST(SamplerTest, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = LogOf({0.5f, 0.26f, 0.24f});
  EXPECT_EQ(Shares({.min_p = 0.5f}, logits, 500).size(), 2u);
  EXPECT_EQ(Shares({.min_p = 1.0f}, logits, 500).size(), 1u);
}

// Combinations of the three filters, compared with sets made by sorting.
TEST(SamplerTest, FiltersApplyInOrder) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    std::vector<float> logits(40);
    std::normal_distribution<float> normal(0, 1 + round % 3);
    for (float& logit : logits) logit = std::round(normal(random) * 4) / 4;  // makes ties
    const SamplingParameters parameters{.top_k = round % 4 == 0 ? 0 : 1 + round % 17,
                                        .top_p = round % 3 == 0 ? 1.0f : 0.3f + 0.01f * round,
                                        .min_p = round % 5 == 0 ? 0.0f : 0.002f * round};
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater(), [&](int32_t id) { return logits[id]; });
    if (parameters.top_k > 0) order.resize(parameters.top_k);
    double total = 0, sum = 0;
    for (const int32_t id : order) total += std::exp(logits[id]);
    std::set<int32_t> kept;
    for (const int32_t id : order) {
      if (sum >= parameters.top_p * total) break;
      sum += std::exp(logits[id]);
      if (std::exp(logits[id] - logits[order[0]]) >= parameters.min_p) kept.insert(id);
    }
    const auto shares = Shares(parameters, logits, 3000);
    for (const auto& [id, share] : shares) EXPECT_TRUE(kept.contains(id)) << round << " " << id;
    double left = 0;
    for (const int32_t id : kept) left += std::exp(logits[id]);
    for (const int32_t id : kept) {
      const double expected = std::exp(logits[id]) / left;
      const auto found = shares.find(id);
      EXPECT_NEAR(found == shares.end() ? 0 : found->second, expected, 0.05) << round << " " << id;
    }
  }
}

TEST(SamplerTest, OnlyAllowedTokensAreChosen) {
  std::vector<float> logits(130);
  for (int i = 0; i < 130; ++i) logits[i] = static_cast<float>(i) / 10;
  logits[5] = 12;
  const std::vector<uint64_t> allowed = {uint64_t{1} << 5, uint64_t{1} << 63, 0b10};
  const std::vector<int32_t> banned = {129, 400};
  for (const float temperature : {0.0f, 1.0f}) {
    std::set<int32_t> seen;
    Sampler sampler({.temperature = temperature, .repetition_penalty = 1.2f}, 130, {});
    for (int i = 0; i < 2000; ++i) {
      const auto token = sampler.Sample(logits, 1, {.allowed = allowed, .banned = {}});
      ASSERT_TRUE(token.ok());
      EXPECT_EQ(token->top[0].id, 129) << "logprobs are of all";
      seen.insert(token->id);
    }
    if (temperature == 0) {
      EXPECT_TRUE(seen.contains(129));
    } else {
      EXPECT_EQ(seen, (std::set<int32_t>{5, 127, 129}));
    }
    const auto token = sampler.Sample(logits, -1, {.allowed = allowed, .banned = banned});
    EXPECT_TRUE(token->id == 127 || token->id == 5);
  }
  Sampler sampler({.temperature = 1}, 130, {});
  const std::vector<uint64_t> none = {0, 0, 0};
  EXPECT_FALSE(sampler.Sample(logits, -1, {.allowed = none, .banned = {}}).ok());
}

TEST(SamplerTest, RepetitionPenaltyCountsThePromptAndDependsOnTheSign) {
  const std::vector<int32_t> prompt = {0, 2};
  // 4/2 < 3, so the best token, already seen, loses. A negative logit is pushed down, not up.
  Sampler positive({.temperature = 0, .repetition_penalty = 2}, 2, prompt);
  EXPECT_EQ(NextId(positive, {4, 3}), 1);
  Sampler negative({.temperature = 0, .repetition_penalty = 2}, 3, prompt);
  EXPECT_EQ(NextId(negative, {-2, -3, -1}), 2);  // -4, -3, -2
}

TEST(SamplerTest, PresenceAndFrequencyCountOnlyOutput) {
  const std::vector<int32_t> prompt = {0};
  Sampler presence({.temperature = 0, .presence_penalty = 1.5f}, 2, prompt);
  EXPECT_EQ(NextId(presence, {2, 1}), 0);  // in the prompt: not penalized
  EXPECT_EQ(NextId(presence, {2, 1}), 1);  // 0.5 < 1
  EXPECT_EQ(NextId(presence, {2, 1}), 0);  // 0.5 > -0.5: applied once, however often generated
  EXPECT_EQ(NextId(presence, {2, 1}), 0);

  Sampler frequency({.temperature = 0, .frequency_penalty = 0.6f}, 2, prompt);
  EXPECT_EQ(NextId(frequency, {2, 1}), 0);
  EXPECT_EQ(NextId(frequency, {2, 1}), 0);  // 1.4 > 1
  EXPECT_EQ(NextId(frequency, {2, 1}), 1);  // 0.8 < 1
}

TEST(SamplerTest, BiasComesBeforeTheChoice) {
  Sampler sampler({.temperature = 0, .logit_bias = {{1, 5.0f}, {0, -100.0f}}}, 3, {});
  EXPECT_EQ(NextId(sampler, {10, 0, 4}), 1);
}

TEST(SamplerTest, TheSameSeedGivesTheSameTokensAndPositionsDiffer) {
  const std::vector<float> logits(1000, 0.0f);
  const auto draw = [&](uint64_t seed, int32_t completion) {
    Sampler sampler({.seed = seed, .completion_index = completion}, logits.size(), {});
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(NextId(sampler, logits));
    return ids;
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(2, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
  const std::vector<int32_t> ids = draw(1, 0);
  EXPECT_GT(std::set<int32_t>(ids.begin(), ids.end()).size(), 40u);  // positions differ
}

TEST(SamplerTest, LogprobsAreOfTheUnmodifiedLogits) {
  Sampler sampler({.temperature = 0, .logit_bias = {{0, 50.0f}}}, 3, {});
  const auto token = sampler.Sample(LogOf({0.1f, 0.6f, 0.3f}), 2);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->id, 0);
  EXPECT_NEAR(token->logprob, std::log(0.1), 1e-6);
  ASSERT_EQ(token->top.size(), 2u);
  EXPECT_EQ(token->top[0].id, 1);
  EXPECT_NEAR(token->top[0].logprob, std::log(0.6), 1e-6);
  EXPECT_EQ(token->top[1].id, 2);
  EXPECT_TRUE(sampler.Sample(LogOf({0.1f, 0.6f, 0.3f}), 0)->top.empty());
}

TEST(SamplerTest, HugeLogitsAndTinyTemperaturesStayFinite) {
  Sampler sampler({.temperature = 1e-30f, .top_p = 0.9f}, 3, {});
  EXPECT_EQ(NextId(sampler, {3e38f, -3e38f, 3e38f * 0.99f}), 0);
}

TEST(SamplerTest, NanIsNeverChosenAndAllNanIsAnError) {
  Sampler sampler({.temperature = 0}, 3, {});
  EXPECT_EQ(NextId(sampler, {NAN, -4, kInfinity}), 1);
  EXPECT_EQ(sampler.Sample(std::vector<float>{NAN, NAN, -kInfinity}, -1).status().code(),
            absl::StatusCode::kInternal);
}

// Every parameter at its default and at the ends of its valid range, in all combinations.
// Combinations that Validate() refuses are dropped, so the lists may contain invalid values.
std::vector<SamplingParameters> ExtremeParameters() {
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  std::vector<SamplingParameters> valid;
  for (const float temperature : {0.0f, kSmallest, 1e-38f, 1.0f, 100.0f}) {
    for (const int64_t top_k : {int64_t{0}, int64_t{1}, int64_t{5}, kLargest}) {
      for (const float top_p : {kSmallest, 0.5f, 0.99999994f, 1.0f}) {
        for (const float min_p : {0.0f, kSmallest, 0.1f, 1.0f}) {
          for (const float repetition : {kSmallest, 1e-42f, 1e-38f, 0.01f, 1.0f, 100.0f}) {
            for (const float penalty : {-100.0f, 0.0f, 100.0f}) {
              for (const float bias : {-1000.0f, 0.0f, 1000.0f}) {
                const SamplingParameters parameters{.temperature = temperature,
                                                    .top_k = top_k,
                                                    .top_p = top_p,
                                                    .min_p = min_p,
                                                    .repetition_penalty = repetition,
                                                    .presence_penalty = penalty,
                                                    .frequency_penalty = penalty,
                                                    .logit_bias = {{0, bias}, {3, -bias}}};
                if (Validate(parameters, 6).ok()) valid.push_back(parameters);
              }
            }
          }
        }
      }
    }
  }
  return valid;
}

TEST(SamplerTest, AnyLogitsAndAnyValidParametersGiveATokenOrAStatus) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  const std::vector<std::vector<float>> rows = {
      {1, 2, -3, 4, 0, -1},
      {kLargest, -kLargest, kLargest, 0, kSmallest, -kSmallest},
      {-kLargest, -kLargest, -kLargest, -kLargest, -kLargest, -kLargest},
      {NAN, kInfinity, -kInfinity, kLargest, -kLargest, 1},
      {-kInfinity, -kInfinity, NAN, -kLargest, NAN, NAN},
      {NAN, NAN, NAN, NAN, NAN, kInfinity}};
  const std::vector<int32_t> prompt = {0, 1, 2, 3, 4, 5, 6, 1'000'000, -1};
  const std::vector<uint64_t> everything = {}, some = {0b101011}, nothing = {0};
  const std::vector<SamplingParameters> all = ExtremeParameters();
  ASSERT_GT(all.size(), 1000u);
  for (const SamplingParameters& parameters : all) {
    for (const std::vector<float>& logits : rows) {
      for (const auto& allowed : {everything, some, nothing}) {
        ASSERT_EQ(FaultOfSampler(parameters, logits, prompt, allowed, 2), "")
            << "temperature " << parameters.temperature << " top_k " << parameters.top_k
            << " top_p " << parameters.top_p << " min_p " << parameters.min_p << " repetition "
            << parameters.repetition_penalty << " presence " << parameters.presence_penalty
            << " first logit " << logits[0];
      }
    }
  }
}

TEST(SamplingValidateTest, NamesTheField) {
  const std::vector<std::pair<SamplingParameters, std::string>> bad = {
      {{.temperature = -0.1f}, "sampling.temperature"},
      {{.temperature = NAN}, "sampling.temperature"},
      {{.temperature = kInfinity}, "sampling.temperature"},
      {{.top_k = -1}, "sampling.top_k"},
      {{.top_p = 0}, "sampling.top_p"},
      {{.top_p = 1.01f}, "sampling.top_p"},
      {{.min_p = -0.5f}, "sampling.min_p"},
      {{.repetition_penalty = 0}, "sampling.repetition_penalty"},
      {{.repetition_penalty = 1e-42f}, "sampling.repetition_penalty"},
      {{.repetition_penalty = 0.0099f}, "sampling.repetition_penalty"},
      {{.repetition_penalty = 101}, "sampling.repetition_penalty"},
      {{.presence_penalty = 101}, "sampling.presence_penalty"},
      {{.no_repeat_ngram_size = -1}, "sampling.no_repeat_ngram_size"},
      {{.no_repeat_ngram_size = 1025}, "sampling.no_repeat_ngram_size"},
      {{.frequency_penalty = -101}, "sampling.frequency_penalty"},
      {{.logit_bias = {{10, 1.0f}}}, "sampling.logit_bias"},
      {{.logit_bias = {{-1, 1.0f}}}, "sampling.logit_bias"},
      {{.logit_bias = {{1, NAN}}}, "sampling.logit_bias"},
  };
  for (const auto& [parameters, field] : bad) {
    const absl::Status status = Validate(parameters, 10);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_EQ(FieldOf(status), field);
  }
  EXPECT_TRUE(Validate(SamplingParameters(), 10).ok());
  EXPECT_TRUE(Validate({.repetition_penalty = 0.01f}, 10).ok());
  SamplingParameters many;
  for (int id = 0; id < 1024; ++id) many.logit_bias[id] = 1;
  EXPECT_TRUE(Validate(many, 5000).ok());
  many.logit_bias[1024] = 1;
  EXPECT_EQ(FieldOf(Validate(many, 5000)), "sampling.logit_bias");
}

}  // namespace
}  // namespace whipsnake::engine
