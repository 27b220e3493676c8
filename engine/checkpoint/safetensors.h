// Reads and writes one safetensors file: a little-endian u64 header length, a JSON header, the
// data. The header maps each tensor's name to its dtype, shape and data_offsets, which are relative
// to the end of the header.
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
#include "engine/checkpoint/element_type.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// A tensor in memory that is owned elsewhere: row-major, little-endian. The `data` of a mapped file
// stays valid while its Checkpoint lives. The format guarantees no alignment, so `data` may be
// unaligned: check the address before using the data in place, or copy it (ToFloat).
struct TensorView {
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t elements() const;  // 1 for a scalar, whose shape is empty
};

// "[2, 3]", for messages.
std::string ShapeText(std::span<const int64_t> shape);

// The position of a tensor in a file, in bytes from the start of the file.
struct TensorRecord {
  const ElementType* type = nullptr;  // lives forever
  std::vector<int64_t> shape;
  int64_t begin = 0;
  int64_t end = 0;
};

// Parses and checks the header of a file of `file_bytes` bytes whose first bytes are `prefix` (the
// whole file, or at least the whole header). Returns INVALID_ARGUMENT, naming the tensor, the value
// seen and the value expected, for a truncated header or one of more than 100 MB; malformed JSON or
// a name that is not UTF-8; a duplicate, unknown or missing key; a dtype that the format does
// not have; a number that is negative, too large or not an integer; more than 8 dimensions; a shape
// that overflows or does not match its bytes; or offsets that are out of range, overlap or leave a
// hole. The tensors of an accepted header cover the data exactly.
absl::StatusOr<std::map<std::string, TensorRecord>> ParseSafetensorsHeader(
    std::span<const std::byte> prefix, int64_t file_bytes);

// A tensor to write, from memory or, so that a file larger than memory can be written, from a
// callback.
struct NamedTensor {
  // Appends the next bytes of a tensor. `produce` must stop and return the error if this fails.
  using Append = std::function<absl::Status(std::span<const std::byte>)>;

  std::string name;
  TensorView tensor;
  // If set, `tensor.data` must be empty, and this passes the bytes to Append in order, in pieces of
  // any size.
  std::function<absl::Status(const Append&)> produce = nullptr;
};

// Writes one file, completely or not at all (AtomicFile). The data begin at a multiple of 64 bytes.
// Tensors with wider elements come first, and those of equal width are sorted by name, so every
// tensor is aligned to its elements. Returns INVALID_ARGUMENT, naming the tensor, for a duplicate
// name, a name that is not UTF-8 or is "__metadata__", too many dimensions, or bytes that do not
// match the shape.
absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors);

// Converts to fp32 exactly; I8 codes are converted as integers. `out` must have room for
// tensor.elements() values.
void ToFloat(const TensorView& tensor, float* out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_
