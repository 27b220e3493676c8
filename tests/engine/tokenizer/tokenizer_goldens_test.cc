// Ids and texts must equal those of Hugging Face's `tokenizers`: see
// tests/oracles/tokenizer_goldens.py.
#include <cstdint>
#include <iomanip>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

std::string Fnv1a(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const int32_t id : ids) {
    for (int byte = 0; byte < 4; ++byte) hash = (hash ^ (id >> 8 * byte & 255)) * 0x100000001B3;
  }
  std::stringstream hex;
  hex << std::hex << std::setw(16) << std::setfill('0') << hash;
  return hex.str();
}

struct Style {
  const char* name;
  std::string file;
  bool keeps_text;  // no normalizer: decoding returns the encoded text
};

class StyleTest : public testing::TestWithParam<Style> {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::Load(GetParam().file);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
    golden_ = ReadGolden(std::string(GetParam().name) + ".ids.json");
    text_ = ReadFile(std::string(kGoldens) + "mixed_text.txt");
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json golden_;
  std::string text_;
};

TEST_P(StyleTest, EncodesEveryDocumentLikeTokenizers) {
  const auto& documents = golden_["documents"];
  size_t begin = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    const std::string document = text_.substr(begin, documents[i][0].get<size_t>());
    begin += document.size();
    const auto ids = tokenizer_->Encode(document);
    ASSERT_TRUE(ids.ok()) << ids.status();
    if (i < golden_["full_ids"].size()) {
      ASSERT_EQ(*ids, golden_["full_ids"][i].get<std::vector<int32_t>>()) << document;
    }
    EXPECT_EQ(ids->size(), documents[i][1].get<size_t>()) << "document " << i << ": " << document;
    EXPECT_EQ(Fnv1a(*ids), documents[i][2].get<std::string>()) << "document " << i;
    if (GetParam().keeps_text) {
      EXPECT_EQ(tokenizer_->Decode(*ids, /*skip_special=*/false), document);
    }
  }
  EXPECT_EQ(begin, text_.size());
}

TEST_P(StyleTest, DecodesRandomIdsLikeTokenizers) {
  for (const auto& golden : golden_["decodings"]) {
    const bool skip_special = golden["skip_special"];
    const auto ids = golden["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_->Decode(ids, skip_special), golden["text"].get<std::string>());
  }
}

std::string Golden(const std::string& name) { return kGoldens + name + ".json"; }

INSTANTIATE_TEST_SUITE_P(Styles, StyleTest,
                         testing::Values(Style{"demo", "deploy/models/mamba-demo/tokenizer.json",
                                               true},
                                         Style{"gpt2_style", Golden("gpt2_style"), true},
                                         Style{"neox_style", Golden("neox_style"), false},
                                         Style{"llama3_style", Golden("llama3_style"), false},
                                         Style{"falcon_style", Golden("falcon_style"), true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(TokenizerGoldensTest, EncodesEveryComponentLikeTokenizers) {
  const nlohmann::json golden = ReadGolden("cases.json");
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  for (const auto& one : golden["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    nlohmann::json document = golden["base"];
    document.merge_patch(one["patch"]);
    const auto tokenizer = MakeTokenizer(document);
    ASSERT_NE(tokenizer, nullptr);
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto ids = tokenizer->Encode(texts[i]);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, one["ids"][i].get<std::vector<int32_t>>()) << texts[i];
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
