// The parameters of a GPT-2.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_PARAMETERS_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_PARAMETERS_H_

#include <vector>

#include "engine/models/gpt2/gpt2_config.h"
#include "engine/models/parameter_spec.h"

namespace whipsnake::engine {

// Every parameter, with names that begin with "transformer.". Initial values are drawn as in the
// paper: normal, with the outputs to the residual stream divided by the square root of their number
// (Radford et al., Language Models are Unsupervised Multitask Learners, section 2.3).
std::vector<ParameterSpec> Gpt2Parameters(const Gpt2Config& config);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_PARAMETERS_H_
