#include "kernels/cpu/scratch.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "kernels/matmul/bf16_cpu.h"

namespace whipsnake::kernels {
namespace {

std::atomic<int64_t> kept{0};

}  // namespace

int64_t Scratch::Kept() { return kept.load(std::memory_order_relaxed); }

void Scratch::Count(int64_t bytes) { kept.fetch_add(bytes, std::memory_order_relaxed); }

void Scratch::Grow(int64_t bytes) {
  memory_.reset();  // frees the old memory before allocating the new
  Count(-capacity_);
  capacity_ = 0;
  memory_.reset(AllocateHostMemory(bytes));
  if (memory_ == nullptr) throw std::bad_alloc();
  Count(bytes);
  capacity_ = bytes;
}

int64_t ScratchBound(int64_t rows, int64_t inputs, int threads) {
  constexpr int64_t kTile = 256;               // of oneDNN products: outputs and rows
  constexpr int64_t kPanelOutputs = 64;        // outputs of a repacked panel
  constexpr int64_t kStreamedRows = 16;        // packed by the streaming product
  constexpr int64_t kOneDnn = 4 << 20;         // oneDNN's packed panels
  constexpr int64_t kRowOperations = 1 << 20;  // attention, norms, Hadamard transforms
  const int64_t padded = inputs + 128;
  // Adds up what each operation needs, although operations share the memory of a workspace.
  // Kept by the caller: all rows twice in 16 bits, once as widened codes with a correction per row
  // and once as bf16.
  const int64_t shared = rows * (2 * 2 * padded + 4);
  // Kept for each share: the sums of a tile of codes and a panel, two tiles expanded from bf16, and
  // a few rows of floats.
  const int64_t codes = 4 * kTile * kTile + kPanelOutputs * padded;
  const int64_t expanded = HasBF16Products() ? 0 : 2 * 4 * kTile * inputs;
  const int64_t streamed = (kStreamedRows + 1) * 4 * padded;
  return shared + threads * (codes + expanded + streamed + kOneDnn + kRowOperations);
}

}  // namespace whipsnake::kernels
