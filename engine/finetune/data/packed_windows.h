// Windows of equal length, cut from many texts.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_PACKED_WINDOWS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_PACKED_WINDOWS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/finetune/data/booked_vector.h"
#include "engine/finetune/data/dataset.h"

namespace whipsnake::engine {

// The texts of a data set, joined in some order with the end-of-text token between them, and cut
// into windows of max_length tokens. The last window may be shorter; a single last token is
// dropped, because it predicts nothing. The number of windows does not depend on the order.
//
// The lengths in the index say which texts a window needs, so any window can be read without
// reading those before it. Not thread-safe.
class PackedWindows {
 public:
  // The data set, whose options must say that it packs, and the ledger must outlive the windows.
  PackedWindows(const Dataset* dataset, Ledger* ledger);

  // The number of windows; does not need an order.
  int64_t size() const;

  // Takes 8 bytes per row, which SetOrder fills. RESOURCE_EXHAUSTED if the ledger has no room.
  absl::Status Reserve();
  // Sets the order of the rows, a permutation of all of them, which must outlive its use.
  void SetOrder(std::span<const int64_t> rows);

  // Reads window i, 0 <= i < size(), of the order that was set. Errors as from Dataset::ReadText.
  // Reading windows in turn reads each text once.
  absl::StatusOr<std::vector<int32_t>> Read(int64_t i);

 private:
  // Returns the tokens of a row, followed by the end of text.
  absl::StatusOr<std::span<const int32_t>> TextOf(int64_t row);

  const Dataset* dataset_;
  std::span<const int64_t> rows_;
  BookedVector<int64_t> begins_;  // [k]: the position in the joined texts of the k-th text
  int64_t cached_row_ = -1;
  std::vector<int32_t> cached_;  // TextOf(cached_row_)
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_PACKED_WINDOWS_H_
