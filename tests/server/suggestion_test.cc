#include "server/suggestion.h"

#include <vector>

#include "gtest/gtest.h"

namespace whipsnake::server {
namespace {

const std::vector<std::string> kWords = {"--temperature", "--top-p", "--top-k", "--model", "serve"};

TEST(SuggestionTest, FindsWhatWasMeant) {
  EXPECT_EQ(NearestWord("--temprature", kWords), "--temperature");    // left out
  EXPECT_EQ(NearestWord("--temperatuure", kWords), "--temperature");  // twice
  EXPECT_EQ(NearestWord("--mdoel", kWords), "--model");               // exchanged
  EXPECT_EQ(NearestWord("serv", kWords), "serve");
  EXPECT_EQ(NearestWord("--top_p", kWords), "--top-p");
}

TEST(SuggestionTest, SaysNothingOfOtherWords) {
  EXPECT_EQ(NearestWord("--schema", kWords), "");
  EXPECT_EQ(NearestWord("x", kWords), "");
  EXPECT_EQ(NearestWord("", kWords), "");
  EXPECT_EQ(NearestWord(std::string(10'000, 'x'), kWords), "");
}

}  // namespace
}  // namespace whipsnake::server
