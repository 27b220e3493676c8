// Weights of a model as the kernels want them, out of a checkpoint.
#ifndef WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_
#define WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/checkpoint/checkpoint.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// A weight [N,K] of a matrix product or an embedding table: mapped from the checkpoint where it is
// stored in the wanted type, an owned copy otherwise. Movable; the views stay valid.
class WeightMatrix {
 public:
  WeightMatrix() = default;

  const kernels::WeightView& view() const { return view_; }
  std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(view_.data), static_cast<size_t>(view_.bytes())};
  }

 private:
  friend class WeightLoader;
  kernels::WeightView view_;
  Buffer copy_;
  Reservation mapped_;
};

// Copies weights out of a checkpoint, or points into it; the checkpoint outlives what is loaded.
//
// A model is loaded twice by the same code: first without a ledger, which checks every name and
// shape and counts the bytes but holds nothing, then in earnest. So nothing large is allocated for
// a model that cannot be loaded.
class WeightLoader {
 public:
  // Matrices are held in `matrix_type` (kF32 or kBF16), everything else in fp32. A null ledger only
  // plans: what it returns is empty.
  WeightLoader(const Checkpoint* checkpoint, kernels::DType matrix_type, Ledger* ledger)
      : checkpoint_(checkpoint), matrix_type_(matrix_type), ledger_(ledger) {}

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  // Bytes of all that was asked for so far.
  int64_t bytes() const { return bytes_; }

  // The tensor `name` of shape [n,k]. Errors name the tensor.
  absl::StatusOr<WeightMatrix> Matrix(const std::string& name, int64_t n, int64_t k);

  // A small tensor as fp32, in the checkpoint's order.
  absl::StatusOr<Buffer> Floats(const std::string& name, std::vector<int64_t> shape);

  // A small tensor [rows,...,cols], the axes between of length 1, as fp32, transposed to
  // [cols,rows], with `map` applied to each element.
  absl::StatusOr<Buffer> TransposedFloats(const std::string& name, std::vector<int64_t> shape,
                                          float (*map)(float) = nullptr);

 private:
  const Checkpoint* checkpoint_;
  kernels::DType matrix_type_;
  Ledger* ledger_;
  int64_t bytes_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_
