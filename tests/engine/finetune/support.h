// Helpers of the tests of data sets.
#ifndef WHIPSNAKE_TESTS_ENGINE_FINETUNE_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_FINETUNE_SUPPORT_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/memory.h"
#include "engine/finetune/data/dataset.h"
#include "engine/tokenizer/random_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {

using Sequences = std::vector<std::vector<int32_t>>;

// The tokens of a text: byte + 1 for each byte. The end-of-text token is 0.
inline std::vector<int32_t> Bytes(std::string_view text) {
  std::vector<int32_t> tokens;
  for (const char byte : text) tokens.push_back(static_cast<uint8_t>(byte) + 1);
  return tokens;
}

// Opens files whose contents a test gives, with a tokenizer of one token per byte.
class DatasetTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Dataset>> TryOpen(const std::string& name, std::string_view bytes,
                                                   DatasetOptions options) {
    options.end_of_text = 0;
    WriteBytes(directory_ / name, bytes);
    return Dataset::Open(directory_ / name, std::move(options), tokenizer_.get(), &ledger_);
  }
  std::unique_ptr<Dataset> Open(const std::string& name, std::string_view bytes,
                                DatasetOptions options) {
    auto dataset = TryOpen(name, bytes, std::move(options));
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? *std::move(dataset) : nullptr;
  }
  std::unique_ptr<Dataset> OpenJson(std::string_view bytes, DatasetOptions options) {
    return Open("rows.jsonl", bytes, std::move(options));
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<Tokenizer> tokenizer_ =
      *Tokenizer::Parse(MakeByteLevelTokenizer(kSmallestByteVocabulary));
  Ledger ledger_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_FINETUNE_SUPPORT_H_
