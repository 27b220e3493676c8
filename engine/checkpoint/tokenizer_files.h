// The files of a model directory that do not depend on its weights.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_TOKENIZER_FILES_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_TOKENIZER_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace whipsnake::engine {

// Copies the tokenizer's files and generation_config.json from one model directory to another.
// Missing files are ignored. Errors name the path.
absl::Status CopyTokenizerFiles(const std::string& from, const std::string& to);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_TOKENIZER_FILES_H_
