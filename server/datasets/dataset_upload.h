// One upload in progress.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_UPLOAD_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_UPLOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/datasets/partial_file.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

class DatasetStore;

// Made by DatasetStore::Begin. All functions, the destructor included, wait for the disk. Not
// thread-safe. The store must outlive it.
class DatasetUpload {
 public:
  // Cuts the upload off, unless it is complete or discarded: what was received is made durable, and
  // can be continued.
  ~DatasetUpload();
  DatasetUpload(const DatasetUpload&) = delete;
  DatasetUpload& operator=(const DatasetUpload&) = delete;

  // Appends the next bytes of the file. INVALID_ARGUMENT for the field "size_bytes" if they are
  // more than announced, and the upload is then discarded; ABORTED if the data set was deleted;
  // otherwise errors of StorageError. After an error the upload must be destroyed.
  absl::Status Append(std::string_view bytes);
  // Ends the upload: the file is durable and queued for validation. INVALID_ARGUMENT for the field
  // "digest" if it is not what was announced, and the upload is then discarded, or for the field
  // "size_bytes" if bytes are missing, and it can then be continued; otherwise errors as from
  // Append. The upload must be destroyed afterwards.
  absl::StatusOr<v1::Dataset> Finish();

 private:
  friend class DatasetStore;
  // Of a data set of the store that no other upload is for.
  DatasetUpload(DatasetStore* store, v1::UploadHeader header, int64_t number)
      : store_(store), header_(std::move(header)), number_(number) {}

  // FAILED_PRECONDITION unless the file has `offset` bytes.
  absl::Status Open(int64_t offset);
  absl::Status Sync();
  absl::Status CheckComplete();
  // Deletes the data set and returns `why`.
  absl::Status Discard(absl::Status why);
  absl::Status Stored(const absl::Status& status);

  DatasetStore* const store_;
  const v1::UploadHeader header_;        // without the offset
  const int64_t number_;                 // of the data set
  std::optional<PartialFile> file_;      // empty once discarded
  std::string_view result_ = "cut_off";  // for the metrics
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_UPLOAD_H_
