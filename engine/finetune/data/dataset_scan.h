// The one pass over a file that validates and indexes it.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_SCAN_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_SCAN_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/progress.h"
#include "engine/finetune/data/booked_vector.h"
#include "engine/finetune/data/data_file.h"
#include "engine/finetune/data/dataset_options.h"
#include "engine/finetune/data/dataset_report.h"
#include "engine/finetune/data/labels.h"
#include "engine/finetune/data/row.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// Where a good row is, and what is known of it without reading it.
struct RowRecord {
  int64_t offset = 0;
  int64_t line = 0;
  uint64_t checksum = 0;  // RowChecksum of its bytes
  int32_t bytes = 0;
  int32_t longest = 0;  // tokens of its longest sequence, before it is cut
};
uint64_t RowChecksum(std::string_view bytes);

// What the pass found.
struct ScannedFile {
  DatasetReport report;
  BookedVector<RowRecord> records;          // of the good rows, in file order
  std::unique_ptr<const RowParser> parser;  // null if the file has no rows
  Labels labels;                            // of kClassification
};

// Reads a file once, from its beginning to its end. Holds one row at a time and, for every row, its
// record and what RepeatedRowFinder needs. A bad row is no error but is in the report. Returns
// INVALID_ARGUMENT, naming the file, if its format is unknown or the columns of a CSV file do not
// fit the task; errors of the file system and of the ledger; and those of `progress`, which may be
// null. `options` must be valid. The ledger must outlive the result.
//
// Without a tokenizer (null), rows and labels are checked, but tokens are not counted: all numbers
// of tokens are 0, as is cut_rows, and a text is too short if it is empty. The options then need no
// end_of_text.
absl::StatusOr<ScannedFile> ScanFile(const DataFile& file, const DatasetOptions& options,
                                     const Tokenizer* tokenizer, Ledger& ledger,
                                     const WorkProgress& progress);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_SCAN_H_
