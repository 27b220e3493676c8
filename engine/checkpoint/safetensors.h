// Reading and writing safetensors: a little-endian u64 header length, a JSON header, the data.
// Format: the header maps each name to dtype, shape and data_offsets, relative to the end of the header.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// A tensor in a mapped file. `data` stays valid while the Checkpoint that it came from lives.
struct TensorView {
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t elements() const;
};

// Where a tensor lies in a file, relative to the file's start.
struct TensorRecord {
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;
  int64_t end = 0;
};

// Parses and checks the header of a file of `file_bytes` bytes whose first bytes are `prefix` (the whole file or at least
// the whole header). Refuses by name: a truncated or oversized header, malformed JSON, a duplicate name, a dtype that is not
// F32, F16 or BF16, a shape that overflows or does not match its bytes, and offsets that are out of range, overlap or leave
// a hole.
absl::StatusOr<std::map<std::string, TensorRecord>> ParseSafetensorsHeader(
    std::span<const std::byte> prefix, int64_t file_bytes);

// All tensors of a model directory: model.safetensors, or the shards that model.safetensors.index.json names.
// Files are mapped read-only, not read. Immutable and thread-safe.
class Checkpoint {
 public:
  // NOT_FOUND without either file; errors name the file and the tensor. A shard named outside the directory, a tensor
  // that the index places in a shard that lacks it, and one that lies in two shards are refused.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);
  ~Checkpoint();

  bool Contains(std::string_view name) const;
  const std::map<std::string, TensorView>& tensors() const;

  // NOT_FOUND if there is none; INVALID_ARGUMENT, naming the shape seen and expected, if it has another shape.
  absl::StatusOr<TensorView> Get(std::string_view name, std::span<const int64_t> shape) const;

 private:
  Checkpoint();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A tensor to be written.
struct NamedTensor {
  std::string name;
  TensorView tensor;
};

// Writes one safetensors file: whole or not at all (a temporary beside it, fsync, rename).
absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors);

// Expands to fp32. `out` has tensor.elements() places.
void ToFloat(const TensorView& tensor, float* out);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_H_
