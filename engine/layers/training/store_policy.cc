#include "engine/layers/training/store_policy.h"

#include <algorithm>
#include <iterator>

#include "engine/base/status.h"
#include "kernels/activation/activation_cells.h"
#include "kernels/compression/compression.h"

namespace whipsnake::engine {
namespace {

constexpr std::string_view kCompressionNames[] = {"none", "8bit", "4bit", "published"};

}  // namespace

std::string_view Name(Compression compression) {
  return kCompressionNames[static_cast<int>(compression)];
}

absl::StatusOr<Compression> ParseCompression(std::string_view name) {
  const auto found = std::ranges::find(kCompressionNames, name);
  if (found == std::end(kCompressionNames)) {
    return InvalidField("compression", Quoted(name), "none, 8bit, 4bit or published");
  }
  return static_cast<Compression>(found - std::begin(kCompressionNames));
}

int64_t StoredBytes(StoreFormat format, int64_t T, int64_t D) {
  switch (format) {
    case StoreFormat::kExact:
      return T * D * static_cast<int64_t>(sizeof(float));
    case StoreFormat::kBF16:
      return T * D * static_cast<int64_t>(sizeof(uint16_t));
    case StoreFormat::kGroups:
    case StoreFormat::kSignedGroups:
      return kernels::GroupBytes(T, D);
    case StoreFormat::kInt8:
      return kernels::EncodedBytes(kernels::kInt8, T, D);
    case StoreFormat::kCells:
    case StoreFormat::kInt4:
      return kernels::ActivationCellBytes(T * D);
    case StoreFormat::kPruned:
      return kernels::KeptElements(kKeptPart, T, D) *
             static_cast<int64_t>(sizeof(int32_t) + sizeof(float));
    case StoreFormat::kDropped:
      return 0;
  }
  return 0;
}

StorePolicy StorePolicy::Of(Compression compression, bool recompute, kernels::DType arithmetic) {
  StorePolicy policy{.formats = {}, .recompute = recompute};
  const auto set = [&](TensorClass tensor_class, StoreFormat format) {
    policy.formats[static_cast<int>(tensor_class)] = format;
  };
  if (compression == Compression::kNone) return policy;
  // What all have in common.
  set(TensorClass::kAttentionOutput, StoreFormat::kDropped);
  set(TensorClass::kConvolution, StoreFormat::kGroups);
  set(TensorClass::kScan, StoreFormat::kDropped);
  if (compression == Compression::kPublished) {
    set(TensorClass::kNormInput, StoreFormat::kPruned);
    set(TensorClass::kInnerProductInput, StoreFormat::kInt8);
    set(TensorClass::kAttention, StoreFormat::kInt8);
    set(TensorClass::kActivationInput, StoreFormat::kInt4);
    return policy;
  }
  set(TensorClass::kNormInput, StoreFormat::kGroups);
  set(TensorClass::kTrainingNormInput, StoreFormat::kGroups);
  set(TensorClass::kInnerProductInput, StoreFormat::kGroups);
  set(TensorClass::kAttention, StoreFormat::kGroups);
  set(TensorClass::kActivationInput, StoreFormat::kSignedGroups);
  if (arithmetic == kernels::DType::kBF16) set(TensorClass::kProductInput, StoreFormat::kBF16);
  if (compression == Compression::k8Bit) return policy;
  set(TensorClass::kBlockInput, StoreFormat::kGroups);
  set(TensorClass::kActivationInput, StoreFormat::kCells);
  return policy;
}

}  // namespace whipsnake::engine
