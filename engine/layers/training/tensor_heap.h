// The memory of training: activations, their gradients and those of parameters.
//
// A training step makes and frees the same large matrices again and again. They come from one heap
// that keeps its pages, so that the system does not have to zero fresh ones in every step, and that
// counts its bytes by what they hold.
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRAINING_TENSOR_HEAP_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRAINING_TENSOR_HEAP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// What a tensor holds. A tensor is kTransient until the activation store keeps it for the backward
// pass.
enum class TensorClass {
  kTransient,          // used up by the layer that made it
  kBlockInput,         // the residual stream before a block
  kNormInput,          // x of a norm whose parameters do not train
  kTrainingNormInput,  // x of a norm that trains
  kProductInput,       // x of a product's gW = gᵀ x, for products with a narrow input
  kInnerProductInput,  // the same for products whose input has the block's inner width
  kAttention,          // queries, keys and values
  kAttentionOutput,    // the outputs of attention and the logarithms of the row sums
  kActivationInput,    // the argument of an activation function
  kConvolution,        // the inputs of a causal convolution, and the gate beside them
  kScanParameters,     // δ, B and C of a selective scan
  kScan,               // the other inputs of a selective scan, and its kept states
  kGradient,           // of a parameter
};
inline constexpr int kTensorClassCount = 13;
std::string_view Name(TensorClass tensor_class);

// Pages of a heap are reserved and released in steps of this size, that of a huge page.
inline constexpr int64_t kHeapStep = int64_t{2} << 20;

class TensorHeap;

// A matrix of fp32 numbers in a heap, or columns of one. Copies share the memory, which is freed
// with the last of them. A new tensor's contents are undefined. Not thread-safe; must not outlive
// the heap.
class Tensor {
 public:
  Tensor() = default;

  kernels::MatrixView<float> view() const { return view_; }
  kernels::MatrixView<float> operator*() const { return view_; }
  int64_t rows() const { return view_.rows; }
  int64_t elements() const { return view_.rows * view_.cols; }
  float* data() const { return view_.data; }
  uint8_t* bytes() const { return reinterpret_cast<uint8_t*>(view_.data); }
  bool empty() const { return block_ == nullptr; }

  // Columns of the same memory.
  Tensor Columns(int64_t begin, int64_t count) const {
    return Tensor(block_, view_.Columns(begin, count));
  }

  // Counts the tensor's whole memory as `tensor_class` from now on, unless it is already counted as
  // another class than kTransient: memory that two layers keep is counted once, as the first one's.
  void SetClass(TensorClass tensor_class);

 private:
  friend class TensorHeap;
  struct Block {
    Block(TensorHeap* owner, int64_t first, int64_t size)
        : heap(owner), offset(first), bytes(size) {}
    ~Block();
    TensorHeap* heap;
    int64_t offset, bytes;
    TensorClass tensor_class = TensorClass::kTransient;
  };
  Tensor(std::shared_ptr<Block> block, kernels::MatrixView<float> view)
      : block_(std::move(block)), view_(view) {}

  std::shared_ptr<Block> block_;
  kernels::MatrixView<float> view_;
};

// A range of addresses of which the lowest free ones are handed out first. Its pages are reserved
// in the ledger, and taken from the system, once something uses them. Not thread-safe.
class TensorHeap {
 public:
  // The heap has at most `limit` bytes of addresses, of which unused ones cost nothing. `ledger`
  // must outlive the heap. Returns RESOURCE_EXHAUSTED if there are no such addresses. With a ledger
  // without memory, the addresses of tensors cannot be used.
  static absl::StatusOr<std::unique_ptr<TensorHeap>> Create(Ledger* ledger, int64_t limit);
  ~TensorHeap();
  TensorHeap(const TensorHeap&) = delete;
  TensorHeap& operator=(const TensorHeap&) = delete;

  // Returns RESOURCE_EXHAUSTED if the ledger refuses or the addresses are used up.
  absl::StatusOr<Tensor> New(int64_t rows, int64_t cols);
  // A tensor of one row with room for so many bytes.
  absl::StatusOr<Tensor> NewBytes(int64_t bytes) {
    return New(1, (bytes + 3) / static_cast<int64_t>(sizeof(float)));
  }

  bool has_memory() const { return ledger_->has_memory(); }

  // The bytes of the tensors that exist, and the most that did since the last ResetPeaks().
  int64_t bytes() const { return bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  int64_t bytes(TensorClass tensor_class) const {
    return by_class_[static_cast<int>(tensor_class)].bytes;
  }
  int64_t peak_bytes(TensorClass tensor_class) const {
    return by_class_[static_cast<int>(tensor_class)].peak;
  }
  // Sets every peak to the current bytes.
  void ResetPeaks();
  // The pages in use, as reserved in the ledger: the most bytes ever plus what fragmentation
  // costs.
  int64_t reserved_bytes() const { return reservation_.bytes(); }

  // Gives the pages above the highest tensor back to the system and the ledger.
  void Trim();

 private:
  friend class Tensor;
  struct Count {
    int64_t bytes = 0, peak = 0;
  };

  TensorHeap(Ledger* ledger, std::span<std::byte> mapped);
  void Free(int64_t offset, int64_t bytes);
  void Add(TensorClass tensor_class, int64_t bytes);
  // Reserves the pages below `end` and makes them accessible.
  absl::Status Extend(int64_t end);

  Ledger* const ledger_;
  const std::span<std::byte> mapped_;
  std::byte* const memory_;  // of which the first limit_ bytes are the heap, from a huge page on
  const int64_t limit_;
  std::map<int64_t, int64_t> free_;  // from offset to size; neighbours are merged
  Reservation reservation_;
  int64_t bytes_ = 0, peak_bytes_ = 0;
  std::array<Count, kTensorClassCount> by_class_{};
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRAINING_TENSOR_HEAP_H_
