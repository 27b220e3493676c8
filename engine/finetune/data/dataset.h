// A file of training or evaluation data.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/progress.h"
#include "engine/finetune/data/data_file.h"
#include "engine/finetune/data/dataset_options.h"
#include "engine/finetune/data/dataset_report.h"
#include "engine/finetune/data/dataset_scan.h"
#include "engine/finetune/data/examples.h"
#include "engine/finetune/data/row.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// The good rows of a file. Only an index of 32 bytes per row is in memory; rows are read and
// tokenized when they are needed. Const methods are thread-safe.
class Dataset {
 public:
  // Reads, tokenizes and indexes the whole file on the calling thread. Bad rows and a file without
  // rows are no errors here: Check() of the report refuses them. `progress`, which may be null, is
  // called with the fraction of the file. Returns INVALID_ARGUMENT, naming the options, if they are
  // not valid (Validate), and errors as from ScanFile. The tokenizer and the ledger must
  // outlive the data set.
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const std::string& path,
                                                       DatasetOptions options,
                                                       const Tokenizer* tokenizer, Ledger* ledger,
                                                       const WorkProgress& progress = nullptr);

  const DatasetOptions& options() const { return options_; }
  const DatasetReport& report() const { return scanned_.report; }
  // Identifies the contents of the file: Digest::text.
  const std::string& digest() const { return report().digest; }
  // Empty unless the task is kClassification.
  const Labels& labels() const { return scanned_.labels; }

  int64_t size() const { return scanned_.records.size(); }  // good rows
  // The tokens of the longest sequence of row i, before it is cut.
  int64_t length(int64_t i) const { return scanned_.records[i].longest; }

  // Reads row i, 0 <= i < size(). Returns DATA_LOSS, naming the file and the line, if the row's
  // bytes are not those that Open saw.
  absl::StatusOr<Example> Read(int64_t i) const;
  // Like Read, but returns the whole text, for kCausalLm.
  absl::StatusOr<std::vector<int32_t>> ReadText(int64_t i) const;

 private:
  Dataset(DataFile file, DatasetOptions options, const Tokenizer* tokenizer, ScannedFile scanned)
      : file_(std::move(file)),
        options_(std::move(options)),
        tokenizer_(tokenizer),
        scanned_(std::move(scanned)) {}

  // Returns what is wrong with row i, with its line and the file.
  absl::Status Changed(int64_t i) const;
  absl::StatusOr<Row> ReadRow(int64_t i) const;
  absl::StatusOr<TokenizedRow> Tokenize(const Row& row) const;

  const DataFile file_;
  const DatasetOptions options_;
  const Tokenizer* const tokenizer_;
  const ScannedFile scanned_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_DATASET_H_
