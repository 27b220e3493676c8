#include "server/registry/model_name.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

TEST(ModelNameTest, HasAnOrganisationANameAndATag) {
  const struct {
    std::string text;
    ModelName name;
    std::optional<int64_t> version;
  } kCases[] = {
      {"support", {"support", ""}, {}},
      {"acme/support", {"acme/support", ""}, {}},
      {"support:3", {"support", "3"}, 3},
      {"acme/support:stable", {"acme/support", "stable"}, {}},
      {"0/0:0", {"0/0", "0"}, 0},
      {"a:3b", {"a", "3b"}, {}},
      {"Org/Name-7B:Best", {"Org/Name-7B", "Best"}, {}},
      {"a:999999999", {"a", "999999999"}, kMaxVersion},
  };
  for (const auto& [text, name, version] : kCases) {
    const auto parsed = ParseModelName(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, name) << text;
    EXPECT_EQ(parsed->version(), version) << text;
    EXPECT_EQ(CheckModelName(text).ok(), name.tag.empty()) << text;
  }
}

TEST(ModelNameTest, AMalformedNameIsRefusedWithItsField) {
  for (const char* text : {"",        "/",    ":",    "a/",           "/a",
                           "a:",      ":a",   "a//b", "a/b/c",        "a:b:c",
                           "a/b:c/d", "a:03", "a:00", "a:1000000000", "a:99999999999999999999",
                           "..",      "../a", "a/..", "a/.b",         "a:.b",
                           "Org/-A",  "a b"}) {
    EXPECT_EQ(engine::FieldOf(ParseModelName(text, "model").status()), "model") << text;
  }
}

TEST(ModelNameTest, AnAliasIsNoNumber) {
  EXPECT_TRUE(CheckAlias("stable", "f").ok());
  EXPECT_TRUE(CheckAlias("2026-11", "f").ok());
  for (const char* alias : {"", "3", "03", "a:b", "a/b", "-Stable"}) {
    EXPECT_EQ(engine::FieldOf(CheckAlias(alias, "f")), "f") << alias;
  }
}

// Against a regular expression, over texts that are nearly names.
TEST(ModelNameTest, TheParserTakesExactlyTheGrammar) {
  const std::string segment = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}";
  const std::regex grammar("((?:" + segment + "/)?" + segment + ")(?::(" + segment + "))?");
  const std::regex digits("[0-9]+"), version("0|[1-9][0-9]{0,8}");
  constexpr std::string_view kAlphabet = "az09-_./:A \0\n";
  const std::string_view alphabet(kAlphabet.data(), kAlphabet.size());
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return random() % n; };
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    const size_t length = below(10) == 0 ? 55 + below(20) : 1 + below(9);
    const size_t letters = below(2) == 0 ? 4 : alphabet.size();
    for (size_t at = 0; at < length; ++at) {
      text += below(6) == 0 ? "/:"[below(2)] : alphabet[below(letters)];
    }
    std::smatch match;
    const bool matches = std::regex_match(text, match, grammar);
    const std::string tag = matches ? match[2].str() : "";
    const bool expected =
        matches && (!std::regex_match(tag, digits) || std::regex_match(tag, version));
    const auto parsed = ParseModelName(text);
    ASSERT_EQ(parsed.ok(), expected) << engine::Quoted(text);
    if (!expected) continue;
    ++accepted;
    EXPECT_EQ(parsed->name, match[1].str());
    EXPECT_EQ(parsed->tag, tag);
    EXPECT_EQ(parsed->text(), text);
    EXPECT_EQ(parsed->version().has_value(), std::regex_match(tag, version)) << text;
  }
  EXPECT_GT(accepted, 2000);
}

}  // namespace
}  // namespace whipsnake::server
