// The parameters that a model of a config has: what a float checkpoint of it contains.
//
// Random models, counts and fresh heads come from this list. A trainer makes its writable fp32
// copies from it too, in the checkpoint's shapes; the layers of a loaded model stay immutable.
#ifndef WHIPSNAKE_ENGINE_MODELS_PARAMETER_SPEC_H_
#define WHIPSNAKE_ENGINE_MODELS_PARAMETER_SPEC_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "engine/layers/parameter.h"
#include "engine/models/distribution.h"

namespace whipsnake::engine {

struct ParameterSpec {
  std::string name;            // as Parameter::name
  std::vector<int64_t> shape;  // in the checkpoint
  ParameterRole role = ParameterRole::kMatrix;
  Distribution initial;  // of a fresh model
  // Whether a checkpoint may lack it: a head for a new task, or a number with a default.
  bool may_be_missing = false;

  int64_t elements() const { return ElementCount(shape); }
};

// The number of elements of all parameters.
int64_t CountParameters(std::span<const ParameterSpec> parameters);

// Returns fp32 tensors with the initial values, which are drawn in pieces while they are written.
// `progress`, which may be null, receives the fraction that is written. It and the parameters must
// outlive the tensors.
std::vector<NamedTensor> InitialTensors(std::span<const ParameterSpec> parameters, uint64_t seed,
                                        const std::function<void(double)>& progress);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_PARAMETER_SPEC_H_
