// How activations are held between the forward and the backward pass.
//
// Letters: T rows (tokens), D columns.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_STORE_POLICY_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_STORE_POLICY_H_

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/layers/training/tensor_heap.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

enum class StoreFormat {
  kExact,         // as it is
  kBF16,          // rounded to bf16, as products in bf16 round their operands anyway
  kGroups,        // int8 with a scale for each group of a row: kernels/compression
  kSignedGroups,  // the same, but all signs are kept, because slopes of activations turn on them
  kInt8,          // the paper's fixed point with 4 bits of fraction
  kCells,         // of an activation's argument: the cell of 4 bits that it is in, aligned to 0
  kInt4,          // the same with the paper's fixed point of 1 bit of fraction
  kPruned,        // of a norm's input: the normalized elements of largest magnitude, 10% of them
  kDropped,       // not at all: the layer computes it again
};

// The part of the elements that kPruned keeps.
inline constexpr double kKeptPart = 0.1;

// The bytes of a tensor [T,D] in a format, without the alignment of the heap. The statistics that a
// norm keeps beside kPruned are a tensor of their own.
int64_t StoredBytes(StoreFormat format, int64_t T, int64_t D);

// Presets of the formats of all classes.
enum class Compression {
  kNone,  // everything exact
  k8Bit,  // 8 bits with a scale for each group: gradients stay almost exact (docs/freezing.md)
  k4Bit,  // the same, but with 4 bits for the arguments of activation functions, and with 8 for the
          // inputs of blocks that are computed again
  kPublished,  // the paper's formats; attention's weights, which it keeps in uint8, are computed
               // again from queries and keys
};
// "none", "8bit", "4bit", "published".
std::string_view Name(Compression compression);
absl::StatusOr<Compression> ParseCompression(std::string_view name);

struct StorePolicy {
  std::array<StoreFormat, kTensorClassCount> formats{};
  // Whether only the input of each block is held, and the block's forward pass runs again before
  // its backward pass (gradient checkpointing: Chen et al., arXiv 1604.06174). What that pass saves
  // has the formats too.
  bool recompute = false;
  bool discard = false;  // holds nothing: for passes without a backward pass

  StoreFormat format(TensorClass tensor_class) const {
    return formats[static_cast<int>(tensor_class)];
  }
  // For products that compute in `arithmetic`, kF32 or kBF16.
  static StorePolicy Of(Compression compression, bool recompute, kernels::DType arithmetic);
  static StorePolicy Discard() { return {.formats = {}, .discard = true}; }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_STORE_POLICY_H_
