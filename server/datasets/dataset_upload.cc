#include "server/datasets/dataset_upload.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/datasets/dataset_errors.h"
#include "server/datasets/dataset_store.h"
#include "server/errors.h"

namespace whipsnake::server {

DatasetUpload::~DatasetUpload() {
  int64_t durable_bytes = 0;
  if (file_) {
    // An error has been logged; the bytes that are durable then go further.
    Sync().IgnoreError();
    durable_bytes = file_->durable_bytes();
  }
  store_->EndUpload(header_.id(), number_, durable_bytes);
  store_->metrics_.dataset_uploads.With({std::string(result_)}).Add();
}

absl::Status DatasetUpload::Open(int64_t offset) {
  auto file = PartialFile::Open(store_->PathOf(header_, number_), store_->options_.write);
  if (!file.ok()) return Stored(file.status());
  file_ = *std::move(file);
  RETURN_IF_ERROR(store_->SetReceived(header_.id(), number_, file_->bytes()));
  return CheckOffset(offset, file_->bytes());
}

absl::Status DatasetUpload::Append(std::string_view bytes) {
  if (file_->bytes() + std::ssize(bytes) > header_.size_bytes()) {
    return Discard(engine::InvalidField(
        "size_bytes", absl::StrCat("at least ", file_->bytes() + std::ssize(bytes), " bytes"),
        absl::StrCat("the announced ", header_.size_bytes())));
  }
  RETURN_IF_ERROR(Stored(file_->Append(bytes)));
  if (file_->bytes() - file_->durable_bytes() >= store_->options_.bytes_between_syncs) {
    RETURN_IF_ERROR(Sync());
  }
  return store_->SetReceived(header_.id(), number_, file_->durable_bytes());
}

absl::StatusOr<v1::Dataset> DatasetUpload::Finish() {
  RETURN_IF_ERROR(CheckComplete());
  RETURN_IF_ERROR(Sync());
  ASSIGN_OR_RETURN(v1::Dataset dataset, store_->Complete(header_.id(), number_));
  result_ = "complete";
  return dataset;
}

absl::Status DatasetUpload::CheckComplete() {
  if (file_->bytes() != header_.size_bytes()) {
    // A connection that breaks can look like the end of the data.
    return engine::InvalidField("size_bytes", absl::StrCat(file_->bytes(), " bytes"),
                                absl::StrCat("the announced ", header_.size_bytes()));
  }
  const std::string digest = file_->digest();
  if (digest == header_.digest()) return absl::OkStatus();
  return Discard(
      engine::InvalidField("digest", digest, absl::StrCat("the announced ", header_.digest())));
}

absl::Status DatasetUpload::Sync() {
  if (file_->bytes() == file_->durable_bytes()) return absl::OkStatus();
  return Stored(file_->Sync());
}

absl::Status DatasetUpload::Discard(absl::Status why) {
  file_.reset();
  store_->Discard(header_.id(), number_);
  result_ = "wrong_data";
  return why;
}

absl::Status DatasetUpload::Stored(const absl::Status& status) {
  if (!status.ok()) result_ = "storage_error";
  return StorageError(status, "the data set cannot be stored");
}

}  // namespace whipsnake::server
