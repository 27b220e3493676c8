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

// A tensor that owns its data.
struct OwnedTensor {
  std::string name;
  kernels::DType dtype = kernels::DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;

  TensorView view() const { return {dtype, shape, data}; }
};

// A tensor that the engine cannot compute with.
struct OtherTensor {
  const ElementType* type = nullptr;  // lives forever
  std::vector<int64_t> shape;
};

// All tensors of model.safetensors or, if that is missing, of the shards that
// model.safetensors.index.json names; if there is neither, of pytorch_model.bin or the shards of
// pytorch_model.bin.index.json. Several tensors of the latter may share bytes. The files are mapped
// read-only, not read. Thread-safe, and immutable unless the files change: see MappedFile and
// Check.
class Checkpoint {
 public:
  // Returns NOT_FOUND if none of these files exists. Returns INVALID_ARGUMENT for a shard that is
  // not a plain file name (it could lie outside the directory), an index of more than 64 MiB, a
  // tensor that is missing from the shard that the index names, a tensor that is in two shards, or
  // a pointer of Git LFS. Errors name the file and the tensor.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);
  // Wraps tensors in memory, which must outlive the checkpoint. Their names must differ and their
  // data must fit their shapes.
  static std::unique_ptr<Checkpoint> Of(std::span<const OwnedTensor> tensors);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // Returns DATA_LOSS, naming the file, if a file has shrunk, could not be read or has changed
  // since Open. Results and errors computed from the tensors before that are then unreliable, so
  // call this before using either. Costs one system call per file.
  absl::Status Check() const;

  // Whether there is such a tensor, of any type.
  bool Contains(std::string_view name) const;
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  // The tensors of types that have no DType. A checkpoint may have them as long as nothing uses
  // them.
  const std::map<std::string, OtherTensor, std::less<>>& others() const { return others_; }

  // Returns NOT_FOUND if there is no such tensor, and INVALID_ARGUMENT, naming what was seen and
  // expected, if its type has no DType or its shape differs.
  absl::StatusOr<TensorView> Get(std::string_view name, std::span<const int64_t> shape) const;
  // The same for a tensor of any shape.
  absl::StatusOr<TensorView> Get(std::string_view name) const;

 private:
  Checkpoint() = default;
  // Maps one file and adds its tensors, which must include those of `expected` (from the index).
  absl::Status AddFile(const std::string& path, std::span<const std::string> expected);
  // Adds the files of an index, which maps tensors to them.
  absl::Status AddShards(const std::string& directory,
                         const std::map<std::string, std::string>& shards);

  std::vector<MappedFile> files_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, OtherTensor, std::less<>> others_;  // of other names
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_CHECKPOINT_H_
