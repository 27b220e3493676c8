#include "engine/layers/training/activation_store.h"

#include <utility>

#include "engine/base/status.h"
#include "kernels/compression/compression.h"

namespace whipsnake::engine {
namespace {

using kernels::Context;
using kernels::MatrixView;

// The parts of a pruned tensor, the indices first.
struct PrunedParts {
  PrunedParts(MatrixView<const float> x, uint8_t* codes)
      : kept(kernels::KeptElements(kKeptPart, x.rows, x.cols)),
        indices(reinterpret_cast<int32_t*>(codes)),
        values(reinterpret_cast<float*>(codes) + kept) {}
  int64_t kept;
  int32_t* indices;
  float* values;
};

// Returns the number of elements beyond the range of the codes.
int64_t Encode(const Context& context, StoreFormat format, MatrixView<const float> x,
               uint8_t* codes) {
  switch (format) {
    case StoreFormat::kBF16:
      kernels::EncodeBF16(context, x, reinterpret_cast<uint16_t*>(codes));
      return 0;
    case StoreFormat::kGroups:
      kernels::EncodeGroups(context, x, codes);
      return 0;
    case StoreFormat::kInt8:
      return kernels::Encode(context, kernels::kInt8, x, codes);
    case StoreFormat::kPruned: {
      const PrunedParts parts(x, codes);
      kernels::Prune(context, x, parts.kept, parts.indices, parts.values);
      return 0;
    }
    case StoreFormat::kExact:
    case StoreFormat::kDropped:
    case StoreFormat::kSignedGroups:  // these three are encoded by TrainableActivation
    case StoreFormat::kCells:
    case StoreFormat::kInt4:
      break;
  }
  return 0;
}

void Decode(const Context& context, StoreFormat format, uint8_t* codes, MatrixView<float> x) {
  switch (format) {
    case StoreFormat::kBF16:
      return kernels::DecodeBF16(context, reinterpret_cast<const uint16_t*>(codes), x);
    case StoreFormat::kGroups:
      return kernels::DecodeGroups(context, codes, x);
    case StoreFormat::kInt8:
      return kernels::Decode(context, kernels::kInt8, codes, x);
    case StoreFormat::kPruned: {
      const PrunedParts parts(x, codes);
      return kernels::Unprune(context, parts.indices, parts.values, parts.kept, x);
    }
    case StoreFormat::kExact:
    case StoreFormat::kDropped:
    case StoreFormat::kSignedGroups:
    case StoreFormat::kCells:
    case StoreFormat::kInt4:
      return;
  }
}

}  // namespace

absl::Status ActivationStore::Save(const Context& context, TensorClass tensor_class,
                                   Tensor tensor) {
  if (discarding_) return absl::OkStatus();
  Saved saved{.format = policy_.format(tensor_class),
              .tensor = {},
              .rows = tensor.rows(),
              .cols = tensor.view().cols};
  if (saved.format == StoreFormat::kExact) {
    saved.tensor = std::move(tensor);
    saved.tensor.SetClass(tensor_class);
  } else if (saved.format != StoreFormat::kDropped) {
    const int64_t bytes = StoredBytes(saved.format, saved.rows, saved.cols);
    ASSIGN_OR_RETURN(saved.tensor, heap_->NewBytes(bytes));
    saved.tensor.SetClass(tensor_class);
    if (heap_->has_memory()) {
      saturated_ += Encode(context, saved.format, *tensor, saved.tensor.bytes());
      kernels::Pause(context);
    }
  }
  saved_.push_back(std::move(saved));
  return absl::OkStatus();
}

void ActivationStore::SaveExactly(TensorClass tensor_class, Tensor tensor) {
  if (discarding_) return;
  tensor.SetClass(tensor_class);
  const int64_t rows = tensor.rows(), cols = tensor.view().cols;
  saved_.push_back({StoreFormat::kExact, std::move(tensor), rows, cols});
}

absl::StatusOr<Tensor> ActivationStore::Take(const Context& context) {
  const Saved saved = std::move(saved_.back());
  saved_.pop_back();
  if (saved.format == StoreFormat::kExact || saved.format == StoreFormat::kDropped) {
    return saved.tensor;
  }
  ASSIGN_OR_RETURN(Tensor decoded, heap_->New(saved.rows, saved.cols));
  if (heap_->has_memory()) {
    Decode(context, saved.format, saved.tensor.bytes(), *decoded);
    kernels::Pause(context);
  }
  return decoded;
}

absl::Status ActivationStore::BeginBlock(const Context& context, const Tensor& input) {
  if (!policy_.recompute) return absl::OkStatus();
  RETURN_IF_ERROR(Save(context, TensorClass::kBlockInput, input));
  discarding_ = true;
  return absl::OkStatus();
}

absl::StatusOr<Tensor> ActivationStore::InputToRecompute(const Context& context) {
  if (!policy_.recompute) return Tensor();
  return Take(context);
}

}  // namespace whipsnake::engine
