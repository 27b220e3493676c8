// GPT-2, a transformer with a cache of keys and values: language models and sequence classifiers.
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

// Makes the model of a config and a checkpoint, with float weights or, if config.quantization is
// set, with codes. Errors as from LoadModel(). Tensor names may begin with "transformer." or not.
// The observer, which may be null, sees the values that flow through a float model; it must outlive
// the model.
absl::StatusOr<std::unique_ptr<Model>> MakeGpt2(const Gpt2Config& config,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                const ModelOptions& options,
                                                const ModelEnvironment& environment,
                                                TransformerObserver* observer = nullptr);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_H_
