// Random weights of a GPT-2.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_RANDOM_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_RANDOM_H_

#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/random_tensors.h"

namespace whipsnake::engine {

// Adds every tensor, initialized as in the paper.
void AddRandomTensors(const Gpt2Config& config, RandomTensors& tensors);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_RANDOM_H_
