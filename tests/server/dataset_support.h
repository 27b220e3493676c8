// Shared by the tests of data sets.
#ifndef WHIPSNAKE_TESTS_SERVER_DATASET_SUPPORT_H_
#define WHIPSNAKE_TESTS_SERVER_DATASET_SUPPORT_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tokenizer/random_tokenizer.h"
#include "server/datasets/dataset_models.h"
#include "server/datasets/sha256.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

inline std::string Sha256Of(std::string_view bytes) {
  Sha256 digest;
  digest.Add(bytes);
  return digest.text();
}

// The header of JSON lines for causal-lm.
inline v1::UploadHeader HeaderOf(std::string_view bytes, const std::string& id = "set") {
  v1::UploadHeader header;
  header.set_id(id);
  header.set_task("causal-lm");
  header.set_format("jsonl");
  header.set_size_bytes(std::ssize(bytes));
  header.set_digest(Sha256Of(bytes));
  return header;
}

// JSON lines of the tasks with texts, all good.
inline std::string GoodRows(int count) {
  std::string rows;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&rows, "{\"text\": \"row ", i, std::string(i % 7, '.'),
                    "\", \"label\": ", i % 3, "}\n");
  }
  return rows;
}

// A model "bytes" of one token for each byte. No other name is known; "" is none.
inline absl::StatusOr<DatasetModel> BytesModel(const std::string& name) {
  if (name.empty()) return DatasetModel();
  if (name != "bytes") {
    return engine::InvalidField("model", engine::Quoted(name), "\"bytes\"");
  }
  static const std::shared_ptr<const engine::Tokenizer> tokenizer =
      *engine::Tokenizer::Parse(engine::MakeByteLevelTokenizer(engine::kSmallestByteVocabulary));
  return DatasetModel{.name = name, .tokenizer = tokenizer, .end_of_text = 0, .max_positions = 512};
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_DATASET_SUPPORT_H_
