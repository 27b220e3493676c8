// GPT-2: a transformer over a cache of keys and values; language models and sequence classifiers.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/layers/transformer_block.h"
#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/model.h"

namespace whipsnake::engine {

// The model that a config and a checkpoint make: floats, or codes where config.quantization is set.
// Errors as from LoadModel(). Tensors may or may not begin with "transformer.". An observer is
// shown what flows through a float model; it outlives the model.
absl::StatusOr<std::unique_ptr<Model>> MakeGpt2(const Gpt2Config& config,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                const ModelOptions& options,
                                                const ModelEnvironment& environment,
                                                TransformerObserver* observer = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_H_
