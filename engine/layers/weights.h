// Weights of a model as the kernels want them, out of a checkpoint.
#ifndef WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_
#define WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_

#include <cstddef>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
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

// The names under which a tensor's codes and scales are stored: "a.qweight" and "a.scale", of
// "a.weight" and of any other "a".
std::string CodesName(std::string_view name);
std::string ScaleName(std::string_view name);

// Copies weights out of a checkpoint, or points into it; the checkpoint outlives what is loaded.
//
// A model is loaded twice by the same code: first without a ledger, which checks every name, shape
// and scale and counts the bytes but holds nothing, then in earnest. So nothing large is allocated
// for a model that cannot be loaded.
class WeightLoader {
 public:
  // A null ledger only plans: the matrices and buffers that it returns are empty.
  WeightLoader(const Checkpoint* checkpoint, Ledger* ledger)
      : checkpoint_(checkpoint), ledger_(ledger) {}

  const Checkpoint& checkpoint() const { return *checkpoint_; }

  // INVALID_ARGUMENT, naming one, where the checkpoint has tensors that were not asked for and that
  // `known` does not know as meaningless: a model that leaves out a part of its file computes
  // something else. `model` says whose tensors were expected, "a Mamba of 24 layers".
  absl::Status CheckAllTaken(const std::function<bool(std::string_view)>& known,
                             std::string_view model) const;
  // INVALID_ARGUMENT where the checkpoint has the tensor `name`, of any shape, with other values
  // than those of the tensor `same`: of a weight that is shared, by the config, and stored twice.
  absl::Status CheckSame(const std::string& name, const std::string& same);
  // Bytes of all that was asked for so far.
  int64_t bytes() const { return bytes_; }
  // Whether any of it points into the checkpoint.
  bool in_place() const { return in_place_; }

  // The tensor `name` of shape [n,k], held as `type`: kF32 or kBF16, or kI8 for the codes of
  // `name`. Errors name the tensor.
  absl::StatusOr<WeightMatrix> Matrix(const std::string& name, int64_t n, int64_t k,
                                      kernels::DType type);

  // The transpose of the tensor `name` of shape [k,n], held as `type`: kF32 or kBF16. Always a
  // copy.
  absl::StatusOr<WeightMatrix> TransposedMatrix(const std::string& name, int64_t n, int64_t k,
                                                kernels::DType type);

  // A small tensor as fp32, in the checkpoint's order; where it was quantized, its codes times
  // their scale.
  absl::StatusOr<Buffer> Floats(const std::string& name, std::vector<int64_t> shape);

  // A small tensor [rows,...,cols], the axes between of length 1, as fp32, transposed to
  // [cols,rows], with `map` applied to each element.
  absl::StatusOr<Buffer> TransposedFloats(const std::string& name, std::vector<int64_t> shape,
                                          float (*map)(float) = nullptr);

  // The codes of a small tensor of such a shape, transposed.
  absl::StatusOr<Buffer> TransposedCodes(const std::string& name, std::vector<int64_t> shape);

  // The one number in the tensor `name`, of shape [] or [1]; also while planning.
  absl::StatusOr<float> Number(const std::string& name);

  // As Floats(), also while planning.
  absl::StatusOr<std::vector<float>> Values(const std::string& name,
                                            std::span<const int64_t> shape);

  // The tensor `name` of n scales, or of one for all; also while planning. Each is above 0 and
  // finite.
  absl::StatusOr<std::vector<float>> Scales(const std::string& name, int64_t n);
  absl::StatusOr<float> Scale(const std::string& name);

  // value(i) for i in [0,n), each finite; `what` names it in errors.
  absl::StatusOr<Buffer> Derived(const std::string& what, int64_t n,
                                 const std::function<float(int64_t)>& value);

 private:
  // The tensor `name` of this shape, which is taken by that.
  absl::StatusOr<TensorView> Take(const std::string& name, std::span<const int64_t> shape);
  // The same of a float type.
  absl::StatusOr<TensorView> FloatTensor(const std::string& name, std::span<const int64_t> shape);
  // Counts the bytes and, unless planning, copies them.
  absl::StatusOr<Buffer> Hold(const std::string& name, std::span<const std::byte> bytes);

  const Checkpoint* checkpoint_;
  Ledger* ledger_;
  int64_t bytes_ = 0;
  std::set<std::string, std::less<>> taken_;  // the names of tensors
  bool in_place_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_
