// Rows that occur more than once.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_REPEATED_ROWS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_REPEATED_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/base/digest.h"
#include "engine/base/memory.h"
#include "engine/finetune/data/row.h"

namespace whipsnake::engine {

struct RepeatedRow {
  int64_t line = 0;
  int64_t first_line = 0;  // the first row with this text
};

struct RepeatedRows {
  int64_t count = 0;
  std::vector<RepeatedRow> first;  // at most 10, in the order of the file
};

// Finds rows whose text (input and responses) an earlier row has. Takes about 100 bytes per row,
// counted in the ledger. Not thread-safe.
class RepeatedRowFinder {
 public:
  // The ledger must outlive the finder.
  explicit RepeatedRowFinder(Ledger* ledger) : ledger_(ledger) {}

  // Adds the row at `line`. `label` tells whether two rows have the same label. Returns
  // RESOURCE_EXHAUSTED if the ledger has no room.
  absl::Status Add(const Row& row, int64_t line, int64_t label);

  const RepeatedRows& repeated() const { return repeated_; }
  // Those of repeated() whose label is not that of the first row.
  const RepeatedRows& contradicting() const { return contradicting_; }

 private:
  struct First {
    int64_t line;
    int64_t label;
  };

  // Makes room for one more entry.
  absl::Status Grow();

  Ledger* ledger_;
  Reservation reservation_;
  int64_t room_ = 0;  // entries that the reservation is for
  absl::flat_hash_map<Digest::Value, First> first_;
  RepeatedRows repeated_;
  RepeatedRows contradicting_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_REPEATED_ROWS_H_
