// The parameters of a model, by name and role.
//
// A family declares the parameters of a model from its config alone (ParameterSpec), and the layers
// of a loaded model visit the same ones as they hold them (Parameter).
#ifndef WHIPSNAKE_ENGINE_LAYERS_PARAMETER_H_
#define WHIPSNAKE_ENGINE_LAYERS_PARAMETER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "engine/base/memory.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// The product of the sizes.
int64_t ElementCount(std::span<const int64_t> shape);

enum class ParameterRole {
  kMatrix,       // of a matrix product
  kConvolution,  // the taps of a convolution
  kEmbedding,    // a table of which single rows are read
  kNormScale,    // γ of a norm
  kBias,         // of a product, a convolution or a norm
  kRecurrence,   // A_log and D of a state-space model
  kScalar,       // one number, such as CRReLU's ε
  // Scales of codes, which a quantized model has beside the parameters. Their names say what they
  // scale; a checkpoint need not have tensors of these names.
  kCodeScale,
};

// A parameter as a layer holds it in memory.
struct Parameter {
  std::string name;            // in the checkpoint of a float model: "transformer.h.0.ln_1.weight"
  std::vector<int64_t> shape;  // in that checkpoint
  ParameterRole role = ParameterRole::kMatrix;
  kernels::DType dtype = kernels::DType::kF32;  // of the elements in memory; kI8: codes
  // The memory, which may hold the parameter transposed, or a function of it (-exp of A_log, γ
  // divided by the scale of a norm's output).
  std::span<const std::byte> bytes;
  // Whether each step of decoding reads all of it. Single rows are read of an input embedding,
  // unless the head is tied to it.
  bool read_by_every_step = true;

  int64_t elements() const { return ElementCount(shape); }
};

// Called once for each parameter, in a fixed order. The parameter's bytes are valid as long as the
// model.
using ParameterVisitor = absl::FunctionRef<void(const Parameter&)>;

// Visits a parameter that is held as fp32 in `buffer`; does nothing if the buffer is empty.
void VisitBuffer(ParameterVisitor visit, std::string name, std::vector<int64_t> shape,
                 ParameterRole role, const Buffer& buffer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_PARAMETER_H_
