// The refusals of data sets.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_ERRORS_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_ERRORS_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::server {

absl::Status DatasetNotFound(std::string_view id);
absl::Status DatasetDeleted(std::string_view id);  // during its upload
absl::Status DatasetExists(std::string_view id);   // with another header
absl::Status DatasetInUse(std::string_view id);    // by a job
absl::Status DatasetNotReady(std::string_view id, std::string_view state);
absl::Status UploadInProgress(std::string_view id);
absl::Status EtagMismatch(std::string_view seen, std::string_view current);
// Quotas: `flag` is the operator's.
absl::Status DatasetTooLarge(int64_t bytes, int64_t limit, std::string_view flag);
absl::Status DatasetsFull(int64_t bytes, int64_t taken, int64_t limit, std::string_view flag);
absl::Status TooManyDatasets(int64_t limit);

// FAILED_PRECONDITION, with `received` for programs, unless both are the same.
absl::Status CheckOffset(int64_t offset, int64_t received);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_ERRORS_H_
