// Shared by the tokenizer tests.
#ifndef WHIPSNAKE_TESTS_ENGINE_TOKENIZER_TEST_UTIL_H_
#define WHIPSNAKE_TESTS_ENGINE_TOKENIZER_TEST_UTIL_H_

#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace whipsnake::engine {

inline constexpr char kGoldens[] = "tests/goldens/tokenizer/";

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

inline nlohmann::json ReadGolden(const std::string& name) {
  return nlohmann::json::parse(ReadFile(kGoldens + name));
}

// The tokenizer of cases.json: byte-level, without a pattern, with merges that cross words.
inline nlohmann::json PlainTokenizerJson() { return ReadGolden("cases.json")["base"]; }

inline std::unique_ptr<Tokenizer> MakeTokenizer(const nlohmann::json& json) {
  auto tokenizer = Tokenizer::Parse(json.dump());
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    return nullptr;
  }
  return *std::move(tokenizer);
}

// Random code points of all kinds, more often those that tokenizers treat specially.
inline std::string RandomText(std::mt19937& random, int code_points) {
  static const std::u32string common =
      U"  \t\n\r\u0085\u00A0\u3000'''strvemld sabc XYZ019.,!?_\u00B2\u0301\u00E9\u4E2D\U0001F600";
  std::string text;
  for (int i = 0; i < code_points; ++i) {
    char32_t code_point = common[random() % common.size()];
    if (random() % 8 == 0) code_point = random() % 0x3000;
    if (random() % 16 == 0) code_point = random() % 0x110000;
    if (code_point >= 0xD800 && code_point < 0xE000) code_point = U'\uFFFD';
    AppendUtf8(code_point, &text);
  }
  return text;
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_TOKENIZER_TEST_UTIL_H_
