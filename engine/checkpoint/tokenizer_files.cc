#include "engine/checkpoint/tokenizer_files.h"

#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

constexpr int64_t kLargestFile = int64_t{256} << 20;  // as for a tokenizer that is loaded

absl::Status CopyTokenizerFiles(const std::string& from, const std::string& to) {
  for (const char* name :
       {"tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json",
        "special_tokens_map.json", "generation_config.json"}) {
    const auto text = ReadTextFile(absl::StrCat(from, "/", name), kLargestFile);
    if (absl::IsNotFound(text.status())) continue;
    RETURN_IF_ERROR(text.status());
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(to, "/", name), *text));
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
