// The tensors of a model directory.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_CHECKPOINT_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"

namespace whipsnake::engine {

// A tensor in memory of its own.
struct OwnedTensor {
  std::string name;
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;

  TensorView view() const { return {dtype, shape, data}; }
};

// All tensors of model.safetensors or, where that is not there, of the shards that
// model.safetensors.index.json names. Files are mapped read-only, not read. Thread-safe, and
// immutable unless somebody changes the files: see MappedFile, and Check.
class Checkpoint {
 public:
  // NOT_FOUND without either file; errors name the file and the tensor. Refused: a shard that is
  // not a plain file name (it could lie outside the directory), an index of more than 64 MiB, a
  // tensor that the index places in a shard that lacks it, and one that lies in two shards.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);
  // The same of tensors in memory, which outlive it, whose names differ and whose data fit their
  // shapes.
  static std::unique_ptr<Checkpoint> Of(std::span<const OwnedTensor> tensors);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // DATA_LOSS, naming the file, once one of them has shrunk, could not be read or has changed since
  // Open. Whatever was computed from tensors before such an answer is in doubt, an error too: so
  // look here first. A system call for each file.
  absl::Status Check() const;

  bool Contains(std::string_view name) const;
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }

  // NOT_FOUND if there is none; INVALID_ARGUMENT, naming the shape seen and expected, if it has
  // another shape.
  absl::StatusOr<TensorView> Get(std::string_view name, std::span<const int64_t> shape) const;

 private:
  Checkpoint() = default;
  // Maps one file and adds its tensors, among which those that the index `expected` must be.
  absl::Status AddFile(const std::string& path, std::span<const std::string> expected);

  std::vector<MappedFile> files_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_CHECKPOINT_H_
