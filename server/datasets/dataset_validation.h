// The validation of an uploaded file.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_VALIDATION_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_VALIDATION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/progress.h"
#include "engine/finetune/data/dataset_options.h"
#include "server/datasets/dataset_models.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

// Returns how a file with this header is read for this model. INVALID_ARGUMENT, naming the field,
// if the model cannot be used with the header: dpo and causal-lm need its end-of-text token, and
// max_length is at most its positions. The header must be valid otherwise (CheckHeader).
absl::StatusOr<engine::DatasetOptions> OptionsFor(const v1::UploadHeader& header,
                                                  const DatasetModel& model);

// Reads the file once on the calling thread. A bad row is no error but is in the report. Errors as
// from engine::ScanFile.
absl::StatusOr<v1::DatasetReport> ValidateFile(const std::string& path,
                                               const engine::DatasetOptions& options,
                                               const DatasetModel& model, engine::Ledger& ledger,
                                               const engine::WorkProgress& progress);

// Whether jobs can use a file with this report.
inline bool IsUsable(const v1::DatasetReport& report) {
  return report.bad_rows() == 0 && report.good_rows() > 0;
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_VALIDATION_H_
