#include "server/datasets/dataset_errors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

using engine::ToAbsl;

constexpr std::string_view kQuota = "DATASET_QUOTA";

std::string Named(std::string_view id) { return absl::StrCat("data set ", engine::Quoted(id)); }

}  // namespace

absl::Status DatasetNotFound(std::string_view id) {
  return WithResource(
      WithReason(absl::NotFoundError(absl::StrCat("no ", Named(id))), "DATASET_NOT_FOUND"),
      "dataset", id);
}

absl::Status DatasetDeleted(std::string_view id) {
  return WithReason(absl::AbortedError(absl::StrCat(Named(id), " was deleted during its upload")),
                    "DATASET_DELETED");
}

absl::Status DatasetExists(std::string_view id) {
  return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat(
                                     Named(id),
                                     " exists with another header: other data, or other settings; "
                                     "delete it, or choose another id")),
                                 "DATASET_EXISTS"),
                      "dataset", id);
}

absl::Status DatasetInUse(std::string_view id) {
  return WithPrecondition(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                         Named(id), " is in use by a job that has not ended")),
                                     "DATASET_IN_USE"),
                          "DATASET", id);
}

absl::Status DatasetNotReady(std::string_view id, std::string_view state) {
  return WithPrecondition(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                         Named(id), " is ", ToAbsl(state), ", expected READY")),
                                     "DATASET_NOT_READY"),
                          "DATASET_STATE", id);
}

absl::Status UploadInProgress(std::string_view id) {
  return WithReason(
      absl::AbortedError(absl::StrCat("another call uploads ", Named(id), "; wait for its end")),
      "UPLOAD_IN_PROGRESS");
}

absl::Status EtagMismatch(std::string_view seen, std::string_view current) {
  return WithReason(
      absl::AbortedError(absl::StrCat("etag: ", engine::Quoted(seen), " seen, expected ",
                                      engine::Quoted(current), ", the current one")),
      "ETAG_MISMATCH", {{"etag", std::string(current)}});
}

absl::Status DatasetTooLarge(int64_t bytes, int64_t limit, std::string_view flag) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("size_bytes: ", bytes, " seen, expected at most ",
                                                limit, " (", ToAbsl(flag), " of the server)")),
      kQuota, {{"limit_bytes", std::to_string(limit)}});
}

absl::Status DatasetsFull(int64_t bytes, int64_t taken, int64_t limit, std::string_view flag) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("no room for another data set: ", bytes,
                                                " bytes seen, expected at most ", limit - taken,
                                                ", because ", taken, " of ", limit, " are taken (",
                                                ToAbsl(flag), " of the server); delete data sets")),
      kQuota, {{"limit_bytes", std::to_string(limit)}, {"taken_bytes", std::to_string(taken)}});
}

absl::Status TooManyDatasets(int64_t limit) {
  return WithReason(absl::ResourceExhaustedError(
                        absl::StrCat("no room for another data set: there are ", limit,
                                     ", the most that the server keeps; delete data sets")),
                    kQuota, {{"limit", std::to_string(limit)}});
}

absl::Status CheckOffset(int64_t offset, int64_t received) {
  if (offset == received) return absl::OkStatus();
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("offset: ", offset, " seen, expected ", received,
                                                 ", the bytes that the server has")),
      "WRONG_OFFSET", {{"received_bytes", std::to_string(received)}});
}

}  // namespace whipsnake::server
