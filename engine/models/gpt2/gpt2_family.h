// The family of GPT-2 models.
#ifndef WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_FAMILY_H_
#define WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_FAMILY_H_

#include "engine/models/family.h"

namespace whipsnake::engine {

extern const Family kGpt2Family;

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_GPT2_GPT2_FAMILY_H_
