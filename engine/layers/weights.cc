#include "engine/layers/weights.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;

// Whether the kernels can read the tensor where it lies: a checkpoint may place it at an odd
// address.
bool UsableInPlace(const TensorView& tensor, DType wanted) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data.data());
  return tensor.dtype == wanted && address % kernels::ByteSize(wanted) == 0;
}

// Rounds to bf16 by pieces, so that no fp32 copy of the whole is needed.
void ToBF16(const TensorView& tensor, uint16_t* out) {
  constexpr int64_t kPiece = 4096;
  float piece[kPiece];
  const int64_t element_bytes = kernels::ByteSize(tensor.dtype);
  for (int64_t begin = 0; begin < tensor.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, tensor.elements() - begin);
    const TensorView part{
        tensor.dtype, {count}, tensor.data.subspan(begin * element_bytes, count * element_bytes)};
    ToFloat(part, piece);
    for (int64_t i = 0; i < count; ++i) out[begin + i] = kernels::ToBF16(piece[i]);
  }
}

}  // namespace

absl::StatusOr<WeightMatrix> WeightLoader::Matrix(const std::string& name, int64_t n, int64_t k) {
  const int64_t shape[] = {n, k};
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Get(name, shape));
  WeightMatrix matrix;
  const int64_t bytes = n * k * kernels::ByteSize(matrix_type_);
  bytes_ += bytes;
  if (ledger_ == nullptr) return matrix;
  matrix.view_ = {tensor.data.data(), matrix_type_, n, k};
  if (UsableInPlace(tensor, matrix_type_)) {
    ASSIGN_OR_RETURN(matrix.mapped_, ledger_->Reserve(bytes, Purpose::kWeights, name));
    return matrix;
  }
  ASSIGN_OR_RETURN(matrix.copy_, ledger_->Allocate(bytes, Purpose::kWeights, name));
  if (matrix_type_ == DType::kBF16) {
    ToBF16(tensor, matrix.copy_.as<uint16_t>());
  } else {
    ToFloat(tensor, matrix.copy_.as<float>());
  }
  matrix.view_.data = matrix.copy_.data();
  return matrix;
}

absl::StatusOr<Buffer> WeightLoader::Floats(const std::string& name, std::vector<int64_t> shape) {
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Get(name, shape));
  const int64_t bytes = tensor.elements() * sizeof(float);
  bytes_ += bytes;
  if (ledger_ == nullptr) return Buffer();
  ASSIGN_OR_RETURN(Buffer floats, ledger_->Allocate(bytes, Purpose::kWeights, name));
  ToFloat(tensor, floats.as<float>());
  return floats;
}

absl::StatusOr<Buffer> WeightLoader::TransposedFloats(const std::string& name,
                                                      std::vector<int64_t> shape,
                                                      float (*map)(float)) {
  const int64_t rows = shape.front(), cols = shape.back();
  ASSIGN_OR_RETURN(Buffer source, Floats(name, std::move(shape)));
  if (ledger_ == nullptr) return source;
  ASSIGN_OR_RETURN(Buffer transposed, ledger_->Allocate(source.size(), Purpose::kWeights, name));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const float value = source.as<float>()[r * cols + c];
      transposed.as<float>()[c * rows + r] = map ? map(value) : value;
    }
  }
  return transposed;
}

}  // namespace whipsnake::engine
