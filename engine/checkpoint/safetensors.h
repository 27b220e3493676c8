// One safetensors file: a little-endian u64 header length, a JSON header, the data. The header maps
// each tensor's name to dtype, shape and data_offsets, which count from the end of the header.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// A tensor in memory that somebody else holds: row-major, little-endian. Of a mapped file, `data`
// stays valid while its Checkpoint lives. No alignment is promised, for the format promises none:
// look at the address before using the data in place, or copy (ToFloat).
struct TensorView {
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t elements() const;  // 1 for a scalar, whose shape is empty
};

// The bytes that a tensor takes; nothing where a dimension is negative or they do not fit in 63
// bits.
std::optional<int64_t> TensorBytes(kernels::DType dtype, std::span<const int64_t> shape);

// "[2, 3]", for messages.
std::string ShapeText(std::span<const int64_t> shape);

// Where a tensor lies in a file, in bytes from the file's start.
struct TensorRecord {
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;
  int64_t end = 0;
};

// Parses and checks the header of a file of `file_bytes` bytes whose first bytes are `prefix` (the
// whole file, or at least the whole header). INVALID_ARGUMENT names the tensor, the value seen and
// the value expected: a truncated header or one of more than 100 MB; malformed JSON or a name that
// is not UTF-8; a duplicate, unknown or missing key; a dtype that is not F32, F16, BF16 or I8; a
// number that is negative, too large or not an integer; more than 8 dimensions; a shape that
// overflows or does not match its bytes; offsets that are out of range, overlap, or leave a hole.
// What it accepts covers the file exactly.
absl::StatusOr<std::map<std::string, TensorRecord>> ParseSafetensorsHeader(
    std::span<const std::byte> prefix, int64_t file_bytes);

// A tensor to be written: from memory, or, so that a file larger than the memory can be written,
// from a callback.
struct NamedTensor {
  // Takes the next bytes of a tensor. An error ends the writing.
  using Append = std::function<absl::Status(std::span<const std::byte>)>;

  std::string name;
  TensorView tensor;
  // If set, `tensor.data` is empty, and this gives the bytes in order, in pieces of any size.
  std::function<absl::Status(const Append&)> produce = nullptr;
};

// Writes one file: whole or not at all (AtomicFile). The data begin at a multiple of 64 bytes;
// wider element types come first and names in order, so that every tensor is aligned to its
// elements. INVALID_ARGUMENT names the tensor: two of one name, a name that is not UTF-8 or is
// "__metadata__", too many dimensions, bytes that do not match the shape.
absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors);

// Expands to fp32, exactly; of I8 the codes. `out` has tensor.elements() places.
void ToFloat(const TensorView& tensor, float* out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_
