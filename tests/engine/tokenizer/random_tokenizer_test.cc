#include "engine/tokenizer/random_tokenizer.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace whipsnake::engine {
namespace {

TEST(MakeByteLevelTokenizer, HasExactlyTheTokensAskedForAndEveryMergeIsValid) {
  // The last size needs more tokens than there are pairs of bytes.
  for (const int64_t tokens : {257, 258, 300, 50280, 257 + 65536 + 1000}) {
    const auto document = nlohmann::json::parse(MakeByteLevelTokenizer(tokens));
    const auto vocabulary = document["model"]["vocab"].get<std::map<std::string, int64_t>>();
    const auto merges = document["model"]["merges"].get<std::vector<std::string>>();
    ASSERT_EQ(vocabulary.size(), tokens);
    ASSERT_EQ(merges.size(), tokens - 257);
    EXPECT_EQ(vocabulary.at("<|endoftext|>"), 0);
    EXPECT_EQ(vocabulary.at("a"), 1 + 'a');
    EXPECT_EQ(vocabulary.at("\xc4\xa0"), 1 + ' ') << "GPT-2 writes a space as U+0120";
    EXPECT_EQ(vocabulary.at("\""), 1 + '"');
    EXPECT_EQ(vocabulary.at("\xc5\x83"), 1 + 0xad)
        << "a soft hyphen is the last of the others, U+0143";
    std::set<int64_t> ids;
    for (const auto& [token, id] : vocabulary) ids.insert(id);
    EXPECT_EQ(ids.size(), tokens);
    EXPECT_EQ(*ids.rbegin(), tokens - 1);
    for (size_t i = 0; i < merges.size(); ++i) {
      const size_t space = merges[i].find(' ');
      const std::string left = merges[i].substr(0, space), right = merges[i].substr(space + 1);
      const int64_t id = vocabulary.at(left + right);
      EXPECT_EQ(id, 257 + i);
      EXPECT_LT(vocabulary.at(left), id);
      EXPECT_LT(vocabulary.at(right), id);
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
