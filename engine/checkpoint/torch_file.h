// Finds the tensors in a file that torch.save wrote: pytorch_model.bin.
//
// The file is a zip archive. Its entry data.pkl is a pickle of a dict of tensors, each of which
// names a storage, an entry data/KEY, and the offset, shape and strides of its elements in it. The
// pickle is read as data (pickle.h), so a file from strangers cannot run anything.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_TORCH_FILE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_TORCH_FILE_H_

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/safetensors.h"

namespace whipsnake::engine {

// Returns the tensors of a state_dict by name. Several may share bytes. Returns INVALID_ARGUMENT,
// naming the tensor where there is one, for the format of PyTorch before 1.6, anything but a dict
// of dense CPU or GPU tensors, a tensor that leaves its storage or whose elements are not in
// row-major order without gaps (a transposed view), big-endian data, and the errors of ReadZip and
// ReadPickle.
absl::StatusOr<std::map<std::string, TensorRecord>> ReadTorchFile(std::span<const std::byte> file);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_TORCH_FILE_H_
