#include <string>
#include <vector>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

// Returns the ids of all single bytes from 0x80 up, and of "a".
std::vector<int32_t> IdsOfEdgeBytes(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    const std::string bytes = tokenizer.TokenBytes(id);
    if (bytes.size() == 1 && (static_cast<uint8_t>(bytes[0]) >= 0x80 || bytes[0] == 'a'))
      ids.push_back(id);
  }
  return ids;
}

TEST(StreamDecoderTest, PiecesAreWholeCharactersAndTogetherTheDecodedText) {
  const auto loaded = Tokenizer::Load(std::string(kGoldens) + "gpt2_style.json");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  const std::vector<int32_t> edges = IdsOfEdgeBytes(tokenizer);
  ASSERT_EQ(edges.size(), 129);

  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    const bool skip_special = random() % 2;
    std::vector<int32_t> ids(random() % 24);
    for (int32_t& id : ids) {
      id = random() % 4 ? edges[random() % edges.size()] : random() % (tokenizer.size() + 3);
    }
    StreamDecoder decoder(&tokenizer, skip_special);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string piece = decoder.Push(id);
      EXPECT_EQ(FindInvalidUtf8(piece), std::string::npos);
      streamed += piece;
    }
    streamed += decoder.Finish();
    ASSERT_EQ(streamed, tokenizer.Decode(ids, skip_special)) << testing::PrintToString(ids);
  }
}

TEST(StreamDecoderTest, ACharacterComesWithItsLastByteAndNotLater) {
  const auto tokenizer = MakeTokenizer(PlainTokenizerJson());
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string character : {"a", "é", "中", "😀"}) {
    StreamDecoder decoder(tokenizer.get());
    for (size_t i = 0; i < character.size(); ++i) {
      int32_t id = 0;
      while (tokenizer->TokenBytes(id) != character.substr(i, 1)) ++id;
      EXPECT_EQ(decoder.Push(id), i + 1 == character.size() ? character : "");
    }
    EXPECT_EQ(decoder.Finish(), "");
  }
}

}  // namespace
}  // namespace whipsnake::engine
