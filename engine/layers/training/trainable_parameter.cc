#include "engine/layers/training/trainable_parameter.h"

#include <utility>

#include "engine/base/status.h"
#include "kernels/cpu/parallel.h"
#include "kernels/matmul/bf16_cpu.h"

namespace whipsnake::engine {
namespace {

bool IsOperandOfProducts(ParameterRole role) {
  return role == ParameterRole::kMatrix || role == ParameterRole::kEmbedding;
}

}  // namespace

kernels::ProductOperand TrainableParameter::operand() const {
  if (rounded.size() == 0) return matrix();
  return kernels::MatrixView<const uint16_t>(rounded.as<uint16_t>(), shape[0],
                                             elements() / shape[0]);
}

absl::StatusOr<TrainableParameter*> TrainableParameters::Add(std::string name,
                                                             std::vector<int64_t> shape,
                                                             ParameterRole role,
                                                             kernels::DType arithmetic,
                                                             Ledger& ledger) {
  TrainableParameter parameter;
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  parameter.role = role;
  const int64_t elements = parameter.elements();
  const auto allocate = [&](int64_t element_bytes) {
    return ledger.Allocate(elements * element_bytes, Purpose::kWeights,
                           absl::StrCat("the tensor ", parameter.name));
  };
  ASSIGN_OR_RETURN(parameter.value, allocate(sizeof(float)));
  if (arithmetic == kernels::DType::kBF16 && IsOperandOfProducts(role)) {
    ASSIGN_OR_RETURN(parameter.rounded, allocate(sizeof(uint16_t)));
  }
  TrainableParameter* const added = &all_.emplace_back(std::move(parameter));
  by_name_.emplace(added->name, added);
  return added;
}

TrainableParameter* TrainableParameters::Find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

TrainableParameter* TrainableParameters::UseIfAny(std::string_view name) {
  TrainableParameter* const parameter = Find(name);
  if (parameter != nullptr) ++parameter->uses;
  return parameter;
}

absl::StatusOr<TrainableParameter*> TrainableParameters::Use(std::string_view name) {
  TrainableParameter* const parameter = UseIfAny(name);
  if (parameter != nullptr) return parameter;
  return absl::InternalError(absl::StrCat("the model has no parameter ", Quoted(name)));
}

void TrainableParameters::Round(const kernels::Context& context) {
  for (const TrainableParameter& parameter : all_) {
    if (parameter.rounded.size() == 0) continue;
    const int64_t elements = parameter.elements();
    kernels::ParallelRows(context, elements, static_cast<double>(elements),
                          [&](const kernels::Context&, int64_t begin, int64_t end) {
                            kernels::RoundToBF16(parameter.data() + begin, end - begin,
                                                 parameter.rounded.as<uint16_t>() + begin);
                          });
  }
}

}  // namespace whipsnake::engine
