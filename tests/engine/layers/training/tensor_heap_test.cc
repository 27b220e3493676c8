#include "engine/layers/training/tensor_heap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/layers/training/activation_store.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

class TensorHeapTest : public ::testing::Test {
 protected:
  TensorHeapTest() : heap_(*TensorHeap::Create(&ledger_, 64 * kMiB)) {}
  Tensor New(int64_t rows, int64_t cols) {
    absl::StatusOr<Tensor> tensor = heap_->New(rows, cols);
    EXPECT_THAT(tensor, IsOk());
    return *tensor;
  }

  Ledger ledger_;
  std::unique_ptr<TensorHeap> heap_;
};

// Random allocations, each filled with a number of its own, which must stay.
TEST_F(TensorHeapTest, TensorsDoNotOverlapAndFreedMemoryIsUsedAgain) {
  std::mt19937 random(1);
  std::vector<std::pair<Tensor, float>> tensors;
  for (int i = 0; i < 3000; ++i) {
    if (tensors.size() > 40 || (!tensors.empty() && random() % 2 == 0)) {
      const size_t victim = random() % tensors.size();
      const auto& [tensor, number] = tensors[victim];
      const kernels::MatrixView<float> view = *tensor;
      EXPECT_TRUE(std::all_of(view.data, view.data + view.rows * view.cols,
                              [&want = number](float value) { return value == want; }));
      tensors.erase(tensors.begin() + static_cast<int64_t>(victim));
      continue;
    }
    const Tensor tensor =
        New(static_cast<int64_t>(random() % 100), 1 + static_cast<int64_t>(random() % 300));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % 64, 0);
    std::fill_n(tensor.data(), tensor.rows() * tensor.view().cols, static_cast<float>(i));
    tensors.emplace_back(tensor, static_cast<float>(i));
  }
  tensors.clear();
  EXPECT_EQ(heap_->bytes(), 0);
  EXPECT_LT(heap_->reserved_bytes(), heap_->peak_bytes() + 4 * kMiB);
  New(16, static_cast<int64_t>(kMiB) - 16);  // all that was freed is one range again
}

TEST_F(TensorHeapTest, CopiesShareMemoryAndTheLastOneFreesIt) {
  Tensor tensor = New(4, 16);
  Tensor columns = tensor.Columns(8, 4);
  EXPECT_EQ(columns.data(), tensor.data() + 8);
  EXPECT_EQ(columns.view().stride, 16);
  const int64_t bytes = heap_->bytes();
  tensor = Tensor();
  EXPECT_EQ(heap_->bytes(), bytes);
  columns = Tensor();
  EXPECT_EQ(heap_->bytes(), 0);
}

TEST_F(TensorHeapTest, CountsByClassAndOnce) {
  Tensor tensor = New(16, 16);
  EXPECT_EQ(heap_->bytes(TensorClass::kTransient), 1024);
  tensor.SetClass(TensorClass::kAttention);
  tensor.Columns(0, 4).SetClass(TensorClass::kProductInput);
  EXPECT_EQ(heap_->bytes(TensorClass::kTransient), 0);
  EXPECT_EQ(heap_->bytes(TensorClass::kAttention), 1024);
  EXPECT_EQ(heap_->bytes(TensorClass::kProductInput), 0);
  tensor = Tensor();
  EXPECT_EQ(heap_->bytes(TensorClass::kAttention), 0);
  EXPECT_EQ(heap_->peak_bytes(TensorClass::kAttention), 1024);
}

TEST_F(TensorHeapTest, IsBookedInTheLedgerAndGivesBackWhatIsFree) {
  Tensor low = New(1, static_cast<int64_t>(kMiB));
  Tensor high = New(1, static_cast<int64_t>(kMiB));
  EXPECT_EQ(ledger_.used(Purpose::kActivations), 8 * kMiB);
  high = Tensor();
  EXPECT_EQ(ledger_.used(Purpose::kActivations), 8 * kMiB);
  heap_->Trim();
  EXPECT_EQ(ledger_.used(Purpose::kActivations), 4 * kMiB);
  low = Tensor();
  heap_->Trim();
  EXPECT_EQ(ledger_.used(), 0);
}

TEST_F(TensorHeapTest, RefusesWhatTheLedgerOrTheAddressesDoNotHave) {
  EXPECT_THAT(heap_->New(65, static_cast<int64_t>(kMiB) / 4),
              Fails(absl::StatusCode::kResourceExhausted, "smaller batch"));
  Ledger small(2 * kMiB);
  const auto heap = TensorHeap::Create(&small, 64 * kMiB);
  EXPECT_THAT((*heap)->New(1, static_cast<int64_t>(kMiB)),
              Fails(absl::StatusCode::kResourceExhausted, "training"));
  EXPECT_THAT((*heap)->New(1, 1024), IsOk());
}

TEST_F(TensorHeapTest, TheStoreGivesBackInReverseOrder) {
  ActivationStore store({}, heap_.get());
  const Tensor first = New(1, 1), second = New(1, 1);
  EXPECT_THAT(store.Save({}, TensorClass::kNormInput, first), IsOk());
  EXPECT_THAT(store.Save({}, TensorClass::kProductInput, second), IsOk());
  EXPECT_EQ(store.Take({})->data(), second.data());
  EXPECT_EQ(store.Take({})->data(), first.data());
  EXPECT_TRUE(store.empty());
}

TEST_F(TensorHeapTest, AStoreThatRecomputesHoldsOnlyTheBlocksInputs) {
  ActivationStore store({.formats = {}, .recompute = true}, heap_.get());
  const Tensor input = New(1, 1);
  EXPECT_THAT(store.BeginBlock({}, input), IsOk());
  EXPECT_THAT(store.Save({}, TensorClass::kAttention, New(1, 1)), IsOk());
  store.EndBlock();
  // Of the last norm, outside of blocks.
  EXPECT_THAT(store.Save({}, TensorClass::kNormInput, New(1, 1)), IsOk());
  EXPECT_EQ(heap_->bytes(TensorClass::kAttention), 0);
  EXPECT_THAT(store.Take({}), IsOk());
  EXPECT_EQ(store.InputToRecompute({})->data(), input.data());
  // The recomputed block.
  EXPECT_THAT(store.Save({}, TensorClass::kAttention, New(1, 1)), IsOk());
  EXPECT_FALSE(store.empty());
  EXPECT_THAT(store.Take({}), IsOk());
  EXPECT_TRUE(store.empty());
}

}  // namespace
}  // namespace whipsnake::engine
