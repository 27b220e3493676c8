#include "engine/generate/repeated_ngrams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "engine/generate/sampling.h"
#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using Ids = std::vector<int32_t>;
using testing::ElementsAre;

// As in transformers before it was made fast (_get_ngrams, _get_generated_ngrams): the tokens that
// follow the last n-1 tokens somewhere in the sequence.
std::set<int32_t> Reference(const Ids& ids, int n) {
  std::map<Ids, std::set<int32_t>> following;
  for (int begin = 0; n > 0 && begin + n <= std::ssize(ids); ++begin) {
    following[Ids(ids.begin() + begin, ids.begin() + begin + n - 1)].insert(ids[begin + n - 1]);
  }
  if (n == 0 || std::ssize(ids) + 1 < n) return {};
  return following[Ids(ids.end() - (n - 1), ids.end())];
}

TEST(RepeatedNgramsTest, AreThoseOfTransformers) {
  std::mt19937 random(3);
  for (const int n : {0, 1, 2, 3, 4, 7}) {
    for (const int vocabulary : {1, 2, 5, 100000}) {
      RepeatedNgrams ngrams(n);
      Ids ids;
      for (int i = 0; i < 400; ++i) {
        const std::span<const int32_t> found = ngrams.Find();
        EXPECT_EQ(std::set<int32_t>(found.begin(), found.end()), Reference(ids, n))
            << n << " of " << vocabulary << " after " << i;
        ids.push_back(static_cast<int32_t>(random() % vocabulary));
        // A stretch that was there before.
        if (i % 50 > 40) ids.back() = ids[i - 30];
        ngrams.Append(ids.back());
      }
    }
  }
}

// Each n-gram is kept once, so the time and the memory of a repetitive sequence are bounded.
TEST(RepeatedNgramsTest, ARepetitiveSequenceHasFew) {
  RepeatedNgrams ngrams(3);
  for (int i = 0; i < 100000; ++i) ngrams.Append(i % 2);
  EXPECT_THAT(ngrams.Find(), ElementsAre(0));
}

int32_t BestOf(Sampler& sampler, const std::vector<float>& logits) {
  const auto token = sampler.Sample(logits, -1);
  EXPECT_TRUE(token.ok()) << token.status();
  return token->id;
}

// What a greedy choice without repeats gives for constant logits, the first token being the best.
Ids GreedyWithoutRepeats(Ids ids, int n, int count, int vocabulary) {
  const size_t prompt = ids.size();
  for (int i = 0; i < count; ++i) {
    const std::set<int32_t> banned = Reference(ids, n);
    int32_t id = 0;
    while (id < vocabulary && banned.contains(id)) ++id;
    ids.push_back(id == vocabulary ? 0 : id);
  }
  return Ids(ids.begin() + prompt, ids.end());
}

TEST(SamplerTest, NoNgramOfThePromptOrTheOutputIsRepeated) {
  for (const int n : {1, 2, 3}) {
    Sampler sampler({.temperature = 0, .no_repeat_ngram_size = n}, 4, Ids{0, 0, 2, 900, 0});
    Ids output;
    for (int i = 0; i < 12; ++i) output.push_back(BestOf(sampler, {4, 3, 2, 1}));
    EXPECT_EQ(output, GreedyWithoutRepeats({0, 0, 2, 900, 0}, n, 12, 4)) << n;
  }
}

TEST(SamplerTest, WhereOnlyRepeatsAreAllowedTheyAreChosen) {
  Sampler sampler({.temperature = 0, .no_repeat_ngram_size = 1}, 3, Ids{0, 1, 2});
  EXPECT_EQ(BestOf(sampler, {1, 3, 2}), 1);
  const std::vector<uint64_t> only_first = {1};
  EXPECT_EQ(
      sampler.Sample(std::vector<float>{1, 3, 2}, -1, {.allowed = only_first, .banned = {}})->id,
      0);
}

TEST_F(GeneratorTest, NoCompletionRepeatsAnNgram) {
  model_.logits = [](std::span<const int32_t>) {
    return std::vector<float>{8, 7, 6, 5, 4, 3, 2, 1};
  };
  Start();
  GenerationRequest request = Request({0, 0, 1}, 40);
  request.sampling.no_repeat_ngram_size = 2;
  request.completions = 2;
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kLength);
  const Ids expected = GreedyWithoutRepeats({0, 0, 1}, 2, 40, 8);
  EXPECT_EQ(collector.ids(0), expected);
  EXPECT_EQ(collector.ids(1), expected);

  // The form of an output comes first.
  request.completions = 1;
  request.sampling.no_repeat_ngram_size = 1;
  request.constraint = *Constraint::Compile({ConstraintSpec::Kind::kRegex, {"a{6}"}},
                                            std::make_shared<VocabularyTrie>(tokenizer_, 8));
  Collector constrained;
  Submit(constrained, request);
  EXPECT_EQ(constrained.reason(), FinishReason::kEos);
  EXPECT_EQ(constrained.text(), "aaaaaa");
}

}  // namespace
}  // namespace whipsnake::engine
