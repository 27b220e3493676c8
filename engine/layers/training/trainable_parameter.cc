#include "engine/layers/training/trainable_parameter.h"

#include <utility>

#include "engine/base/status.h"
#include "kernels/cpu/parallel.h"
#include "kernels/matmul/bf16_cpu.h"

namespace whipsnake::engine {
kernels::ProductOperand TrainableParameter::operand() const {
  if (rounded.size() == 0) return matrix();
  return kernels::MatrixView<const uint16_t>(rounded.as<uint16_t>(), shape[0],
                                             elements() / shape[0]);
}

absl::StatusOr<TrainableParameter*> TrainableParameters::Add(std::string name,
                                                             std::vector<int64_t> shape,
                                                             ParameterRole role) {
  TrainableParameter parameter;
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  parameter.role = role;
  ASSIGN_OR_RETURN(
      parameter.value,
      ledger_->Allocate(parameter.elements() * static_cast<int64_t>(sizeof(float)),
                        Purpose::kWeights, absl::StrCat("the tensor ", parameter.name)));
  TrainableParameter* const added = &all_.emplace_back(std::move(parameter));
  by_name_.emplace(added->name, added);
  return added;
}

TrainableParameter* TrainableParameters::Find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

absl::StatusOr<TrainableParameter*> TrainableParameters::Use(std::string_view name) {
  TrainableParameter* const parameter = Find(name);
  if (parameter == nullptr) {
    return absl::InternalError(absl::StrCat("the model has no parameter ", Quoted(name)));
  }
  ++parameter->uses;
  return parameter;
}

absl::StatusOr<TrainableParameter*> TrainableParameters::UseInProducts(std::string_view name) {
  ASSIGN_OR_RETURN(TrainableParameter* const parameter, Use(name));
  if (arithmetic_ != kernels::DType::kBF16 || parameter->rounded.size() > 0) return parameter;
  ASSIGN_OR_RETURN(
      parameter->rounded,
      ledger_->Allocate(parameter->elements() * static_cast<int64_t>(sizeof(uint16_t)),
                        Purpose::kWeights, absl::StrCat("the rounded tensor ", parameter->name)));
  return parameter;
}

int64_t TrainableParameters::AddLayer(TrainableLayer layer) {
  const bool has_layer = std::ranges::any_of(layers_, [&](const TrainableLayer& other) {
    return other.parameters.front() == layer.parameters.front();
  });
  if (has_layer) return std::ssize(layers_);
  std::erase(layer.parameters, nullptr);
  layer.block = block_;
  layers_.push_back(std::move(layer));
  return std::ssize(layers_) - 1;
}

int64_t TrainableParameters::LowestTrainingLayer() const {
  return std::ranges::find_if(layers_, &TrainableLayer::trains) - layers_.begin();
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
