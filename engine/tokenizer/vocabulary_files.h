// The files of a byte-level BPE as GPT-2 and its descendants were first published: vocab.json and
// merges.txt, and what says which tokens were added.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_VOCABULARY_FILES_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_VOCABULARY_FILES_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// The texts of the files.
struct VocabularyFiles {
  std::string vocabulary;  // vocab.json: ids by token
  std::string merges;      // merges.txt: one "left right" in a line, the first merge first
  // These may be missing, and are then "{}".
  std::string added_tokens = "{}";        // added_tokens.json: ids by token
  std::string special_tokens_map = "{}";  // special_tokens_map.json
  std::string tokenizer_config = "{}";    // tokenizer_config.json
};

// Returns the equivalent tokenizer.json, which has the same ids as the tokenizer that transformers
// makes of the files: those of added_tokens_decoder in tokenizer_config.json or, without it, those
// of added_tokens.json and special_tokens_map.json are added, then "bos_token", "eos_token",
// "unk_token" and the like that are still missing. Only what is read here is checked. Returns
// INVALID_ARGUMENT, naming the file, for a malformed one, and UNIMPLEMENTED for a tokenizer_class
// that splits or merges in another way than GPT-2.
absl::StatusOr<nlohmann::json> AssembleTokenizer(const VocabularyFiles& files);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_VOCABULARY_FILES_H_
