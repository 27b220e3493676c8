// Tells whether two models are the same.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_MODEL_DIGEST_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_MODEL_DIGEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"

namespace whipsnake::engine {

// Returns the digest (Digest::text) of a model directory's config.json and tensors. It does not
// depend on tensors that the engine cannot compute with, nor on how the tensors are split into
// files, and two models with the same digest compute the same. Reads all weights. Returns DATA_LOSS
// if the files of the checkpoint have changed since it was opened; other errors as from
// ReadTextFile.
absl::StatusOr<std::string> DigestModel(const std::string& directory, const Checkpoint& checkpoint);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_MODEL_DIGEST_H_
