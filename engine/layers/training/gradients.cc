#include "engine/layers/training/gradients.h"

#include "engine/base/status.h"
#include "engine/layers/training/write_zeros.h"

namespace whipsnake::engine {

absl::StatusOr<Gradients::Target> Gradients::Of(const TrainableParameter& parameter) {
  Entry& entry = entries_[&parameter];
  if (entry.tensor.empty()) {
    const kernels::MatrixView<const float> value = parameter.matrix();
    ASSIGN_OR_RETURN(entry.tensor, heap_->New(value.rows, value.cols));
    entry.tensor.SetClass(TensorClass::kGradient);
  }
  const bool accumulate = entry.holds_sum;
  entry.holds_sum = true;
  return Target{*entry.tensor, accumulate};
}

absl::StatusOr<float*> Gradients::SumOf(const kernels::Context& context,
                                        const TrainableParameter* parameter) {
  if (parameter == nullptr || !parameter->trains) return nullptr;
  ASSIGN_OR_RETURN(const Target target, Of(*parameter));
  if (!target.accumulate && heap_->has_memory()) {
    WriteZeros(context, target.matrix.data, parameter->elements());
  }
  return target.matrix.data;
}

absl::Status Gradients::Added(TrainableParameter* parameter) {
  if (parameter == nullptr || !parameter->trains) return absl::OkStatus();
  Entry& entry = entries_[parameter];
  if (++entry.added < parameter->uses * passes_ || complete_ == nullptr) return absl::OkStatus();
  const absl::Status status =
      entry.tensor.empty() ? absl::OkStatus() : complete_(*parameter, entry.tensor);
  entries_.erase(parameter);
  return status;
}

Tensor Gradients::Get(const TrainableParameter& parameter) const {
  const auto found = entries_.find(&parameter);
  return found == entries_.end() ? Tensor() : found->second.tensor;
}

}  // namespace whipsnake::engine
