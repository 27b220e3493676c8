#include "engine/layers/training/tensor_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kTensorAlignment = 64;

int64_t RoundUp(int64_t bytes, int64_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

}  // namespace

std::string_view Name(TensorClass tensor_class) {
  constexpr std::string_view kNames[kTensorClassCount] = {
      "transient",        "block_input",         "norm_input",      "training_norm_input",
      "product_input",    "inner_product_input", "attention",       "attention_output",
      "activation_input", "convolution",         "scan_parameters", "scan",
      "gradient"};
  return kNames[static_cast<int>(tensor_class)];
}

Tensor::Block::~Block() {
  heap->Add(tensor_class, -bytes);
  heap->Free(offset, bytes);
}

void Tensor::SetClass(TensorClass tensor_class) {
  if (block_->tensor_class != TensorClass::kTransient) return;
  block_->heap->Add(block_->tensor_class, -block_->bytes);
  block_->tensor_class = tensor_class;
  block_->heap->Add(tensor_class, block_->bytes);
}

absl::StatusOr<std::unique_ptr<TensorHeap>> TensorHeap::Create(Ledger* ledger, int64_t limit) {
  limit = RoundUp(limit, kHeapStep);
  // Without access rights, the addresses do not count as memory, not even on a system that promises
  // no more than it has.
  const int64_t mapped = limit + kHeapStep;
  void* memory = mmap(nullptr, static_cast<size_t>(mapped), PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the system has no ", limit, " bytes of addresses for training"));
  }
  return std::unique_ptr<TensorHeap>(
      new TensorHeap(ledger, {static_cast<std::byte*>(memory), static_cast<size_t>(mapped)}));
}

TensorHeap::TensorHeap(Ledger* ledger, std::span<std::byte> mapped)
    : ledger_(ledger),
      mapped_(mapped),
      memory_(reinterpret_cast<std::byte*>(
          RoundUp(reinterpret_cast<intptr_t>(mapped.data()), kHeapStep))),
      limit_(std::ssize(mapped) - kHeapStep),
      free_{{0, limit_}} {
  madvise(memory_, static_cast<size_t>(limit_), MADV_HUGEPAGE);  // where the system has such pages
}

TensorHeap::~TensorHeap() { munmap(mapped_.data(), mapped_.size()); }

absl::StatusOr<Tensor> TensorHeap::New(int64_t rows, int64_t cols) {
  const int64_t bytes = RoundUp(
      std::max<int64_t>(rows * cols, 1) * static_cast<int64_t>(sizeof(float)), kTensorAlignment);
  const auto found =
      std::ranges::find_if(free_, [=](const auto& range) { return range.second >= bytes; });
  if (found == free_.end()) {
    return absl::ResourceExhaustedError(absl::StrCat("training needs ", bytes,
                                                     " bytes more than the ", limit_,
                                                     " that it may have; use a smaller batch"));
  }
  const auto [offset, size] = *found;
  RETURN_IF_ERROR(Extend(offset + bytes));
  free_.erase(found);
  if (size > bytes) free_.emplace(offset + bytes, size - bytes);
  Add(TensorClass::kTransient, bytes);
  auto* const data = reinterpret_cast<float*>(memory_ + offset);
  return Tensor(std::make_shared<Tensor::Block>(this, offset, bytes), {data, rows, cols});
}

void TensorHeap::Free(int64_t offset, int64_t bytes) {
  const auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + bytes) {
    bytes += next->second;
    free_.erase(next);
  }
  const auto after = free_.lower_bound(offset);
  if (after != free_.begin()) {
    const auto previous = std::prev(after);
    if (previous->first + previous->second == offset) {
      previous->second += bytes;
      return;
    }
  }
  free_.emplace(offset, bytes);
}

void TensorHeap::Add(TensorClass tensor_class, int64_t bytes) {
  Count& count = by_class_[static_cast<int>(tensor_class)];
  count.bytes += bytes;
  count.peak = std::max(count.peak, count.bytes);
  bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_);
}

void TensorHeap::ResetPeaks() {
  peak_bytes_ = bytes_;
  for (Count& count : by_class_) count.peak = count.bytes;
}

absl::Status TensorHeap::Extend(int64_t end) {
  const int64_t missing = RoundUp(end, kHeapStep) - reservation_.bytes();
  if (missing <= 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(Reservation more,
                   ledger_->Reserve(missing, Purpose::kActivations, "the activations of training"));
  std::byte* const first = memory_ + reservation_.bytes();
  if (has_memory() && mprotect(first, static_cast<size_t>(missing), PROT_READ | PROT_WRITE) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the system has no ", missing, " bytes more for training"));
  }
  if (reservation_.bytes() == 0) {
    reservation_ = std::move(more);
  } else {
    reservation_.Add(std::move(more));
  }
  return absl::OkStatus();
}

void TensorHeap::Trim() {
  const auto& [offset, size] = *free_.rbegin();
  const int64_t used = offset + size == limit_ ? RoundUp(offset, kHeapStep) : limit_;
  if (used >= reservation_.bytes()) return;
  const auto unused = static_cast<size_t>(reservation_.bytes() - used);
  madvise(memory_ + used, unused, MADV_DONTNEED);
  mprotect(memory_ + used, unused, PROT_NONE);
  reservation_.ShrinkTo(used);
}

}  // namespace whipsnake::engine
