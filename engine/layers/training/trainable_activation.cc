#include "engine/layers/training/trainable_activation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/status.h"
#include "kernels/compression/compression.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

constexpr TensorClass kArgument = TensorClass::kActivationInput;
constexpr int64_t kDecodedRows = 256;

// The cells of a format that keeps an argument in 4 bits.
std::optional<kernels::ActivationCells> CellsOf(StoreFormat format) {
  if (format == StoreFormat::kCells) return kernels::kAlignedCells;
  if (format == StoreFormat::kInt4) return kernels::kCenteredCells;
  return std::nullopt;
}

// Whether the layer itself encodes a format.
bool IsCode(StoreFormat format) {
  return CellsOf(format).has_value() || format == StoreFormat::kSignedGroups;
}

}  // namespace

absl::StatusOr<Tensor> TrainableActivation::Forward(TrainingPass& pass, Tensor x, bool save) const {
  ASSIGN_OR_RETURN(Tensor y, pass.New(x.rows(), x.view().cols));
  pass.Compute(PassCost::Numbers(2 * x.elements()), [&] {
    kernels::Activate(pass.context, Function(), x.data(), x.elements(), y.data());
  });
  if (!save) return y;
  const StoreFormat format = pass.store->format(kArgument);
  if (!IsCode(format) || !pass.store->encodes(kArgument)) {
    RETURN_IF_ERROR(pass.Save(kArgument, std::move(x)));
    return y;
  }
  ASSIGN_OR_RETURN(Tensor codes, pass.heap->NewBytes(StoredBytes(format, x.rows(), x.view().cols)));
  pass.Compute(PassCost::Numbers(x.elements()), [&] {
    if (const auto cells = CellsOf(format)) {
      kernels::EncodeCells(pass.context, *cells, x.data(), x.elements(), codes.bytes());
    } else {
      kernels::EncodeGroups(pass.context, *x, codes.bytes(), /*keep_signs=*/true);
    }
  });
  pass.store->SaveExactly(kArgument, std::move(codes));
  return y;
}

absl::Status TrainableActivation::Backward(TrainingPass& pass, const Tensor& g) const {
  const StoreFormat format = pass.store->format(kArgument);
  ASSIGN_OR_RETURN(const Tensor saved, pass.Take());
  double gepsilon = 0;
  if (format == StoreFormat::kSignedGroups) {
    ASSIGN_OR_RETURN(gepsilon, BackwardFromGroups(pass, saved, *g));
  } else {
    pass.Compute(PassCost::Numbers(3 * g.elements()), [&] {
      const auto cells = CellsOf(format);
      gepsilon = cells ? kernels::ActivateBackwardFromCells(
                             pass.context, kernels::MakeActivationCellTable(Function(), *cells),
                             saved.bytes(), g.data(), g.elements(), g.data())
                       : kernels::ActivateBackward(pass.context, Function(), saved.data(), g.data(),
                                                   g.elements(), g.data());
    });
  }
  ASSIGN_OR_RETURN(float* const sum, pass.gradients->SumOf(pass.context, epsilon_));
  if (sum != nullptr && pass.heap->has_memory()) *sum += static_cast<float>(gepsilon);
  return pass.gradients->Added(epsilon_);
}

// Decodes a block of rows at a time, because all rows are the largest matrix of a block.
absl::StatusOr<double> TrainableActivation::BackwardFromGroups(TrainingPass& pass,
                                                               const Tensor& codes,
                                                               MatrixView<float> g) const {
  ASSIGN_OR_RETURN(const Tensor x, pass.New(std::min(kDecodedRows, g.rows), g.cols));
  double gepsilon = 0;
  for (int64_t first = 0; first < g.rows; first += kDecodedRows) {
    const int64_t rows = std::min(kDecodedRows, g.rows - first);
    pass.Compute(PassCost::Numbers(4 * rows * g.cols), [&] {
      const MatrixView<float> block = g.Rows(first, rows);
      kernels::DecodeGroupRows(pass.context, codes.bytes(), g.rows, first, x.view().Rows(0, rows));
      gepsilon += kernels::ActivateBackward(pass.context, Function(), x.data(), block.data,
                                            rows * g.cols, block.data);
    });
  }
  return gepsilon;
}

}  // namespace whipsnake::engine
