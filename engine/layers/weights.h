// Loads a model's weights from a checkpoint, in the form that the kernels need.
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
#include "engine/layers/unused_tensors.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// A weight [N,K] of a matrix product or an embedding table: mapped from the checkpoint if it is
// stored there in the wanted type, otherwise an owned copy. Movable; views stay valid after a move.
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

// The names under which a tensor's codes and scales are stored: "a.qweight" and "a.scale" for
// "a.weight", and for any other name "a".
std::string CodesName(std::string_view name);
std::string ScaleName(std::string_view name);

// Copies weights from a checkpoint or points into it. The checkpoint must outlive the loaded
// weights. Not thread-safe.
//
// The same code loads a model twice: first without a ledger, which checks every name, shape and
// scale and counts the bytes but holds nothing; then with one. Nothing large is thus allocated for
// a model that cannot be loaded.
//
// Errors name the tensor: those of Checkpoint::Get, INVALID_ARGUMENT for a wrong type or value, and
// RESOURCE_EXHAUSTED if the ledger refuses.
class WeightLoader {
 public:
  // With a null ledger it only plans: the matrices and buffers that it returns are empty.
  WeightLoader(const Checkpoint* checkpoint, Ledger* ledger)
      : checkpoint_(checkpoint), ledger_(ledger) {}

  const Checkpoint& checkpoint() const { return *checkpoint_; }

  // Judges the checkpoint's tensors that were not requested by `surplus`, and returns the foreign
  // ones. Returns INVALID_ARGUMENT, naming a tensor, if one that may be a weight is kOfLayers:
  // floats of any type, or codes. A model that ignores a part of its layers would compute something
  // else. `model` describes the expected model in the message: "a Mamba of 24 layers".
  absl::StatusOr<UnusedTensors> FindUnused(const std::function<Surplus(std::string_view)>& surplus,
                                           std::string_view model) const;
  // Returns INVALID_ARGUMENT if the checkpoint has the tensor `name`, of any shape, with other
  // values than the tensor `same`. For a weight that the config ties and the checkpoint stores
  // twice.
  absl::Status CheckSame(const std::string& name, const std::string& same);
  // The bytes of all weights requested so far.
  int64_t bytes() const { return bytes_; }
  // Whether any of the weights point into the checkpoint.
  bool in_place() const { return in_place_; }

  // The tensor `name` of shape [n,k], held as `type`: kF32 or kBF16, or kI8 for the codes of
  // `name`.
  absl::StatusOr<WeightMatrix> Matrix(const std::string& name, int64_t n, int64_t k,
                                      kernels::DType type);

  // The transpose of the tensor `name` of shape [k,n], held as `type`: kF32 or kBF16. Always a
  // copy.
  absl::StatusOr<WeightMatrix> TransposedMatrix(const std::string& name, int64_t n, int64_t k,
                                                kernels::DType type);

  // A small tensor as fp32, in the checkpoint's order. If it was quantized, its codes times their
  // scale.
  absl::StatusOr<Buffer> Floats(const std::string& name, std::vector<int64_t> shape);

  // A small tensor [rows,...,cols], whose axes in between have length 1, as fp32, transposed to
  // [cols,rows], with `map` applied to each element.
  absl::StatusOr<Buffer> TransposedFloats(const std::string& name, std::vector<int64_t> shape,
                                          float (*map)(float) = nullptr);

  // The codes of a small tensor of such a shape, transposed to [cols,rows].
  absl::StatusOr<Buffer> TransposedCodes(const std::string& name, std::vector<int64_t> shape);

  // The finite number in the tensor `name`, of shape [] or [1]. Available while planning.
  absl::StatusOr<float> Number(const std::string& name);

  // As Floats(), but available while planning.
  absl::StatusOr<std::vector<float>> Values(const std::string& name,
                                            std::span<const int64_t> shape);

  // The fp32 tensor `name` of n scales, or of one scale for all. Available while planning. Each
  // scale must be above 0 and finite.
  absl::StatusOr<std::vector<float>> Scales(const std::string& name, int64_t n);
  absl::StatusOr<float> Scale(const std::string& name);

  // The values value(i) for i in [0,n), which must be finite. `what` names them in errors.
  absl::StatusOr<Buffer> Derived(const std::string& what, int64_t n,
                                 const std::function<float(int64_t)>& value);

 private:
  // Returns the tensor `name` of this shape and marks it as taken.
  absl::StatusOr<TensorView> Take(const std::string& name, std::span<const int64_t> shape);
  // The same for a tensor of a float type.
  absl::StatusOr<TensorView> FloatTensor(const std::string& name, std::span<const int64_t> shape);
  // Counts the bytes and, unless it only plans, returns a copy of them.
  absl::StatusOr<Buffer> CopyBytes(const std::string& name, std::span<const std::byte> bytes);

  const Checkpoint* checkpoint_;
  Ledger* ledger_;
  int64_t bytes_ = 0;
  std::set<std::string, std::less<>> taken_;  // names of the requested tensors
  bool in_place_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_WEIGHTS_H_
