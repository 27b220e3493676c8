#include "engine/layers/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;

constexpr std::string_view kFloatTypes = "F32, F16 or BF16";

// Whether the kernels can read the tensor in place. A checkpoint may store it at a misaligned
// address.
bool UsableInPlace(const TensorView& tensor, DType wanted) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data.data());
  return tensor.dtype == wanted && address % kernels::ByteSize(wanted) == 0;
}

absl::Status WrongType(const std::string& name, DType seen, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", ToAbsl(Name(seen)),
                                                 " seen, expected ", ToAbsl(expected)));
}

// Returns `count` elements of a tensor, starting at `begin`, as a tensor of one axis.
TensorView PieceOf(const TensorView& tensor, int64_t begin, int64_t count) {
  const int64_t size = kernels::ByteSize(tensor.dtype);
  return {tensor.dtype, {count}, tensor.data.subspan(begin * size, count * size)};
}

// Rounds to bf16 in pieces, so that no fp32 copy of the whole tensor is needed.
void ToBF16(const TensorView& tensor, uint16_t* out) {
  constexpr int64_t kPiece = 4096;
  float piece[kPiece];
  for (int64_t begin = 0; begin < tensor.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, tensor.elements() - begin);
    ToFloat(PieceOf(tensor, begin, count), piece);
    for (int64_t i = 0; i < count; ++i) out[begin + i] = kernels::ToBF16(piece[i]);
  }
}

// Writes the transpose [cols,rows] of a float matrix [rows,cols] in `type`. Works in bands of rows,
// so that the accessed pieces of both matrices fit into the cache.
void TransposeInto(const TensorView& tensor, int64_t rows, int64_t cols, DType type,
                   std::byte* out) {
  constexpr int64_t kBand = 16;
  const int64_t row_bytes = cols * kernels::ByteSize(tensor.dtype);
  std::vector<float> band(kBand * cols);
  for (int64_t begin = 0; begin < rows; begin += kBand) {
    const int64_t count = std::min(kBand, rows - begin);
    ToFloat(
        {tensor.dtype, {count, cols}, tensor.data.subspan(begin * row_bytes, count * row_bytes)},
        band.data());
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < count; ++r) {
        const float value = band[r * cols + c];
        const int64_t at = c * rows + begin + r;
        if (type == DType::kBF16) {
          reinterpret_cast<uint16_t*>(out)[at] = kernels::ToBF16(value);
        } else {
          reinterpret_cast<float*>(out)[at] = value;
        }
      }
    }
  }
}

// "a" for "a.weight"; any other name unchanged.
std::string_view Stem(std::string_view name) {
  constexpr std::string_view kEnd = ".weight";
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

// The transpose of [rows,cols], [cols,rows].
template <typename T>
std::vector<T> Transposed(std::span<const T> values, int64_t rows) {
  const int64_t cols = rows == 0 ? 0 : static_cast<int64_t>(values.size()) / rows;
  std::vector<T> transposed(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) transposed[c * rows + r] = values[r * cols + c];
  }
  return transposed;
}

// The tensors must have the same shape.
bool HaveSameValues(const TensorView& a, const TensorView& b) {
  if (a.dtype == b.dtype) return std::ranges::equal(a.data, b.data);
  constexpr int64_t kPiece = 4096;
  float values_a[kPiece], values_b[kPiece];
  for (int64_t begin = 0; begin < a.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, a.elements() - begin);
    ToFloat(PieceOf(a, begin, count), values_a);
    ToFloat(PieceOf(b, begin, count), values_b);
    if (!std::equal(values_a, values_a + count, values_b)) return false;
  }
  return true;
}

}  // namespace

std::string CodesName(std::string_view name) {
  return absl::StrCat(ToAbsl(Stem(name)), ".qweight");
}
std::string ScaleName(std::string_view name) { return absl::StrCat(ToAbsl(Stem(name)), ".scale"); }

absl::StatusOr<TensorView> WeightLoader::Take(const std::string& name,
                                              std::span<const int64_t> shape) {
  taken_.insert(name);
  return checkpoint_->Get(name, shape);
}

absl::StatusOr<UnusedTensors> WeightLoader::FindUnused(
    const std::function<Surplus(std::string_view)>& surplus, std::string_view model) const {
  UnusedTensors unused;
  const auto judge = [&](const std::string& name, const ElementType& type) -> absl::Status {
    if (taken_.contains(name)) return absl::OkStatus();
    const Surplus kind = surplus(name);
    if (kind == Surplus::kOfLayers && (type.is_float || type.dtype)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(name), " seen, expected only the tensors of ",
                       ToAbsl(model), ", as config.json describes it"));
    }
    if (kind != Surplus::kLeftover) unused.Add(name, type.name);
    return absl::OkStatus();
  };
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    RETURN_IF_ERROR(judge(name, ElementTypeOf(tensor.dtype)));
  }
  for (const auto& [name, tensor] : checkpoint_->others()) {
    RETURN_IF_ERROR(judge(name, *tensor.type));
  }
  return unused;
}

absl::Status WeightLoader::CheckSame(const std::string& name, const std::string& same) {
  const auto& tensors = checkpoint_->tensors();
  const auto twice = tensors.find(name), once = tensors.find(same);
  if (twice == tensors.end() || once == tensors.end()) return absl::OkStatus();
  taken_.insert(name);
  if (ledger_ != nullptr) return absl::OkStatus();  // compared while planning
  if (twice->second.shape == once->second.shape && HaveSameValues(twice->second, once->second)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", Quoted(name), ": values that differ from those of ", Quoted(same),
                   " seen, expected equal values or no such tensor, because the config ties them"));
}

absl::StatusOr<WeightMatrix> WeightLoader::Matrix(const std::string& name, int64_t n, int64_t k,
                                                  DType type) {
  const int64_t shape[] = {n, k};
  const std::string stored = type == DType::kI8 ? CodesName(name) : name;
  ASSIGN_OR_RETURN(const TensorView tensor, Take(stored, shape));
  if ((type == DType::kI8) != (tensor.dtype == DType::kI8)) {
    return WrongType(stored, tensor.dtype, type == DType::kI8 ? "I8" : kFloatTypes);
  }
  WeightMatrix matrix;
  const int64_t bytes = n * kernels::WeightFormat(type).RowBytes(k);
  bytes_ += bytes;
  if (ledger_ == nullptr) return matrix;
  matrix.view_ = {tensor.data.data(), type, n, k};
  if (ledger_->device() == kernels::Device::kCpu && UsableInPlace(tensor, type)) {
    ASSIGN_OR_RETURN(matrix.mapped_, ledger_->Reserve(bytes, Purpose::kWeights, stored));
    in_place_ = true;
    return matrix;
  }
  ASSIGN_OR_RETURN(matrix.copy_, ledger_->Allocate(bytes, Purpose::kWeights, stored));
  RETURN_IF_ERROR(matrix.copy_.Fill([&](std::byte* out) {
    if (type == DType::kBF16) {
      ToBF16(tensor, reinterpret_cast<uint16_t*>(out));
    } else {
      ToFloat(tensor, reinterpret_cast<float*>(out));
    }
  }));
  matrix.view_.data = matrix.copy_.data();
  return matrix;
}

absl::StatusOr<TensorView> WeightLoader::FloatTensor(const std::string& name,
                                                     std::span<const int64_t> shape) {
  ASSIGN_OR_RETURN(const TensorView tensor, Take(name, shape));
  if (tensor.dtype == DType::kI8) return WrongType(name, tensor.dtype, kFloatTypes);
  return tensor;
}

absl::StatusOr<WeightMatrix> WeightLoader::TransposedMatrix(const std::string& name, int64_t n,
                                                            int64_t k, DType type) {
  const int64_t shape[] = {k, n};
  ASSIGN_OR_RETURN(const TensorView tensor, FloatTensor(name, shape));
  WeightMatrix matrix;
  const int64_t bytes = n * kernels::WeightFormat(type).RowBytes(k);
  bytes_ += bytes;
  if (ledger_ == nullptr) return matrix;
  ASSIGN_OR_RETURN(matrix.copy_, ledger_->Allocate(bytes, Purpose::kWeights, name));
  matrix.view_ = {matrix.copy_.data(), type, n, k};
  RETURN_IF_ERROR(
      matrix.copy_.Fill([&](std::byte* out) { TransposeInto(tensor, k, n, type, out); }));
  return matrix;
}

absl::StatusOr<float> WeightLoader::Number(const std::string& name) {
  const int64_t one[] = {1};
  const bool scalar = checkpoint_->Get(name, {}).ok();
  ASSIGN_OR_RETURN(const TensorView tensor,
                   FloatTensor(name, scalar ? std::span<const int64_t>() : one));
  float value;
  ToFloat(tensor, &value);
  if (std::isfinite(value)) return value;
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", Quoted(name), ": ", value, " seen, expected a finite number"));
}

absl::StatusOr<std::vector<float>> WeightLoader::Values(const std::string& name,
                                                        std::span<const int64_t> shape) {
  const bool quantized = !checkpoint_->Contains(name) && checkpoint_->Contains(CodesName(name));
  const std::string stored = quantized ? CodesName(name) : name;
  ASSIGN_OR_RETURN(const TensorView tensor, Take(stored, shape));
  if (quantized != (tensor.dtype == DType::kI8)) {
    return WrongType(stored, tensor.dtype, quantized ? "I8" : kFloatTypes);
  }
  std::vector<float> values(tensor.elements());
  ToFloat(tensor, values.data());
  if (quantized) {
    ASSIGN_OR_RETURN(const float scale, Scale(ScaleName(name)));
    for (float& value : values) value *= scale;
  }
  return values;
}

absl::StatusOr<Buffer> WeightLoader::CopyBytes(const std::string& name,
                                               std::span<const std::byte> bytes) {
  bytes_ += bytes.size();
  if (ledger_ == nullptr) return Buffer();
  ASSIGN_OR_RETURN(Buffer buffer, ledger_->Allocate(bytes.size(), Purpose::kWeights, name));
  RETURN_IF_ERROR(buffer.CopyFromHost(bytes));
  return buffer;
}

absl::StatusOr<Buffer> WeightLoader::Floats(const std::string& name, std::vector<int64_t> shape) {
  ASSIGN_OR_RETURN(const std::vector<float> values, Values(name, shape));
  return CopyBytes(name, std::as_bytes(std::span(values)));
}

absl::StatusOr<Buffer> WeightLoader::TransposedFloats(const std::string& name,
                                                      std::vector<int64_t> shape,
                                                      float (*map)(float)) {
  ASSIGN_OR_RETURN(std::vector<float> values, Values(name, shape));
  if (map != nullptr) std::ranges::transform(values, values.begin(), map);
  const std::vector<float> transposed = Transposed<float>(values, shape.front());
  return CopyBytes(name, std::as_bytes(std::span(transposed)));
}

absl::StatusOr<Buffer> WeightLoader::TransposedCodes(const std::string& name,
                                                     std::vector<int64_t> shape) {
  const std::string stored = CodesName(name);
  ASSIGN_OR_RETURN(const TensorView tensor, Take(stored, shape));
  if (tensor.dtype != DType::kI8) return WrongType(stored, tensor.dtype, "I8");
  const std::vector<std::byte> transposed = Transposed<std::byte>(tensor.data, shape.front());
  return CopyBytes(stored, transposed);
}

absl::StatusOr<std::vector<float>> WeightLoader::Scales(const std::string& name, int64_t n) {
  const int64_t one[] = {1}, all[] = {n};
  // If there is no single scale, n scales are looked up, so that an error names that shape.
  const bool single = checkpoint_->Get(name, one).ok();
  ASSIGN_OR_RETURN(const TensorView tensor, Take(name, single ? one : all));
  if (tensor.dtype != DType::kF32) return WrongType(name, tensor.dtype, "F32");
  std::vector<float> scales(tensor.elements());
  ToFloat(tensor, scales.data());
  for (const float scale : scales) {
    if (!(scale > 0) || !std::isfinite(scale)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": a scale of ",
                                                     scale,
                                                     " seen, expected a finite scale above 0"));
    }
  }
  scales.resize(n, scales.front());
  return scales;
}

absl::StatusOr<float> WeightLoader::Scale(const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<float> scales, Scales(name, 1));
  return scales.front();
}

absl::StatusOr<Buffer> WeightLoader::Derived(const std::string& what, int64_t n,
                                             const std::function<float(int64_t)>& value) {
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) {
    values[i] = value(i);
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": ", values[i], " at index ", i,
                       " seen, expected scales whose products are finite"));
    }
  }
  return CopyBytes(what, std::as_bytes(std::span(values)));
}

}  // namespace whipsnake::engine
