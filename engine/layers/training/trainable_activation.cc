#include "engine/layers/training/trainable_activation.h"

#include <optional>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr TensorClass kArgument = TensorClass::kActivationInput;

// The cells of a format that keeps an argument in 4 bits.
std::optional<kernels::ActivationCells> CellsOf(StoreFormat format) {
  if (format == StoreFormat::kCells) return kernels::kAlignedCells;
  if (format == StoreFormat::kInt4) return kernels::kCenteredCells;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<Tensor> TrainableActivation::Forward(TrainingPass& pass, Tensor x, bool save) const {
  ASSIGN_OR_RETURN(Tensor y, pass.New(x.rows(), x.view().cols));
  pass.Compute(PassCost::Numbers(2 * x.elements()), [&] {
    kernels::Activate(pass.context, Function(), x.data(), x.elements(), y.data());
  });
  if (!save) return y;
  const StoreFormat format = pass.store->format(kArgument);
  const auto cells = CellsOf(format);
  if (!cells || !pass.store->encodes(kArgument)) {
    RETURN_IF_ERROR(pass.Save(kArgument, std::move(x)));
    return y;
  }
  ASSIGN_OR_RETURN(Tensor codes, pass.heap->NewBytes(StoredBytes(format, x.rows(), x.view().cols)));
  pass.Compute(PassCost::Numbers(x.elements()), [&] {
    kernels::EncodeCells(pass.context, *cells, x.data(), x.elements(), codes.bytes());
  });
  pass.store->SaveExactly(kArgument, std::move(codes));
  return y;
}

absl::Status TrainableActivation::Backward(TrainingPass& pass, const Tensor& g) const {
  const auto cells = CellsOf(pass.store->format(kArgument));
  ASSIGN_OR_RETURN(const Tensor saved, pass.Take());
  double gepsilon = 0;
  pass.Compute(PassCost::Numbers(3 * g.elements()), [&] {
    gepsilon = cells ? kernels::ActivateBackwardFromCells(
                           pass.context, kernels::MakeActivationCellTable(Function(), *cells),
                           saved.bytes(), g.data(), g.elements(), g.data())
                     : kernels::ActivateBackward(pass.context, Function(), saved.data(), g.data(),
                                                 g.elements(), g.data());
  });
  ASSIGN_OR_RETURN(float* const sum, pass.gradients->SumOf(epsilon_));
  if (sum != nullptr && pass.heap->has_memory()) *sum += static_cast<float>(gepsilon);
  return pass.gradients->Added(epsilon_);
}

}  // namespace whipsnake::engine
