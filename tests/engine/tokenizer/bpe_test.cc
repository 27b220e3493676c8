#include "engine/tokenizer/bpe.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

// Merges as the paper describes: repeatedly the best pair in the whole word, the leftmost of equal
// pairs first.
std::vector<std::string> MergeNaively(const std::string& word, const json& merges) {
  std::vector<std::string> symbols;
  for (const char c : word) symbols.emplace_back(1, c);
  while (true) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (size_t rank = 0; rank < best; ++rank) {
        if (merges[rank][0] == symbols[i] && merges[rank][1] == symbols[i + 1]) {
          best = rank;
          at = i;
        }
      }
    }
    if (best == merges.size()) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + at + 1);
  }
}

// A model with random merges of the letters a, b and c.
json RandomModel(std::mt19937& random) {
  json vocabulary = {{"a", 0}, {"b", 1}, {"c", 2}};
  std::vector<std::string> tokens = {"a", "b", "c"};
  json merges = json::array();
  while (merges.size() < 12) {
    const std::string left = tokens[random() % tokens.size()],
                      right = tokens[random() % tokens.size()];
    const json merge = {left, right};
    if (std::find(merges.begin(), merges.end(), merge) != merges.end()) continue;
    merges.push_back(merge);
    if (!vocabulary.contains(left + right)) {
      vocabulary[left + right] = tokens.size();
      tokens.push_back(left + right);
    }
  }
  std::shuffle(merges.begin(), merges.end(), random);
  const json model = {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}};
  return json::parse(model.dump());  // unsigned ids, as in a file
}

TEST(BpeTest, MergesInTheOrderOfTheRanksForWordsOfAnyLength) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const json model = RandomModel(random);
    const auto bpe = Bpe::Parse(JsonView(&model));
    ASSERT_TRUE(bpe.ok()) << bpe.status();
    for (const int length : {1, 2, 3, 5, 8, 13, 39, 40, 41, 42, 90}) {
      std::string word;
      for (int i = 0; i < length; ++i) word.push_back("abc"[random() % 3]);
      std::vector<int32_t> ids, expected;
      ASSERT_TRUE(bpe->Encode(word, Bpe::Alphabet::kCharacters, &ids).ok());
      for (const std::string& token : MergeNaively(word, model["merges"])) {
        expected.push_back(bpe->Find(token));
      }
      EXPECT_EQ(ids, expected) << word << " with " << model.dump();
    }
  }
}

TEST(BpeTest, AppendsToWhatIsThere) {
  const json model = json::parse(R"({"vocab": {"a": 0, "aa": 1}, "merges": [["a", "a"]]})");
  const auto bpe = Bpe::Parse(JsonView(&model));
  ASSERT_TRUE(bpe.ok()) << bpe.status();
  std::vector<int32_t> ids = {0, 0};
  ASSERT_TRUE(bpe->Encode("aaa", Bpe::Alphabet::kCharacters, &ids).ok());
  ASSERT_TRUE(bpe->Encode(std::string(101, 'a'), Bpe::Alphabet::kCharacters, &ids).ok());
  ASSERT_EQ(ids.size(), 4 + 51);
  EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.begin() + 5),
            (std::vector<int32_t>{0, 0, 1, 0, 1}));
  EXPECT_EQ(ids.back(), 0);
}

TEST(BpeTest, AnUnknownTokenOutsideTheVocabularyIsAnErrorOnlyWhereItIsNeeded) {
  const json model = json::parse(R"({"vocab": {"a": 0}, "merges": [], "unk_token": "<unk>"})");
  const auto bpe = Bpe::Parse(JsonView(&model));
  ASSERT_TRUE(bpe.ok()) << bpe.status();
  std::vector<int32_t> ids;
  EXPECT_TRUE(bpe->Encode("aa", Bpe::Alphabet::kCharacters, &ids).ok());
  EXPECT_EQ(bpe->Encode("ab", Bpe::Alphabet::kCharacters, &ids).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace whipsnake::engine
