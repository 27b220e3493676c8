#include "server/cli/dataset_upload.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/data/data_file.h"
#include "google/rpc/error_details.pb.h"
#include "server/cli/progress.h"
#include "server/datasets/dataset_header.h"
#include "server/datasets/sha256.h"
#include "whipsnake/v1/dataset.grpc.pb.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kPieceBytes = int64_t{256} << 10;
constexpr int kMaxAttempts = 8;  // in a row that send nothing
constexpr std::chrono::milliseconds kFirstPause{250}, kLongestPause{8000};

// Reads pieces of the file in order, from `offset` on, and calls `take` with each until it returns
// false.
template <typename Take>
absl::Status ReadPieces(const engine::DataFile& file, int64_t offset, const Take& take) {
  std::string piece(kPieceBytes, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const int64_t got, file.Read(offset, piece));
    offset += got;
    if (got == 0 || !take(std::string_view(piece).substr(0, got), offset)) return absl::OkStatus();
  }
}

absl::Status SetSizeAndDigest(const engine::DataFile& file, v1::UploadHeader& header) {
  Progress progress("Reading");
  Sha256 digest;
  int64_t bytes = 0;
  RETURN_IF_ERROR(ReadPieces(file, 0, [&](std::string_view piece, int64_t end) {
    digest.Add(piece);
    bytes = end;
    progress.Set(static_cast<double>(end) / static_cast<double>(std::max(file.bytes(), end)));
    return true;
  }));
  header.set_size_bytes(bytes);
  header.set_digest(digest.text());
  return absl::OkStatus();
}

// Whether the same call may succeed later.
bool IsTemporary(const grpc::Status& status) {
  constexpr std::array<std::string_view, 4> kReasons = {"UPLOAD_IN_PROGRESS", "TOO_MANY_UPLOADS",
                                                        "UPLOAD_STALLED", "WRONG_OFFSET"};
  return status.error_code() == grpc::UNAVAILABLE ||
         std::ranges::count(kReasons, ErrorInfoOf(status).reason()) > 0;
}

class Uploader {
 public:
  Uploader(const ClientFlags& flags, const engine::DataFile& file, v1::UploadHeader header)
      : flags_(flags),
        file_(file),
        header_(std::move(header)),
        stub_(v1::DatasetService::NewStub(Connect(flags))) {}

  absl::StatusOr<v1::Dataset> Run() {
    std::chrono::milliseconds pause = kFirstPause;
    for (int attempts = 1;; ++attempts) {
      const int64_t offset = header_.offset();
      grpc::Status status = FindOffset();
      if (status.ok()) {
        ASSIGN_OR_RETURN(status, Send());
      }
      if (status.ok()) return std::move(*response_.mutable_dataset());
      if (header_.offset() > offset) {
        attempts = 1;
        pause = kFirstPause;
      }
      // A server that was never reached is not waited for.
      if (!reached_ || !IsTemporary(status) || attempts >= kMaxAttempts) return Failed(status);
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
  }

 private:
  // Asks the server what it has, so that no data are sent in vain.
  grpc::Status FindOffset() {
    grpc::ClientContext context;
    v1::GetDatasetRequest request;
    v1::GetDatasetResponse response;
    request.set_id(header_.id());
    const grpc::Status status = stub_->GetDataset(&context, request, &response);
    const bool is_new = status.error_code() == grpc::NOT_FOUND;
    if (!status.ok() && !is_new) return status;
    reached_ = true;
    const bool goes_on = response.dataset().state() == v1::DATASET_STATE_UPLOADING;
    header_.set_offset(goes_on ? response.dataset().received_bytes() : 0);
    return grpc::Status::OK;
  }

  // One call, from header_.offset on. An error of its own is one of the file.
  absl::StatusOr<grpc::Status> Send() {
    grpc::ClientContext context;
    response_.Clear();
    const auto writer = stub_->UploadDataset(&context, &response_);
    v1::UploadDatasetRequest request;
    *request.mutable_header() = header_;
    bool open = writer->Write(request);
    const absl::Status read =
        ReadPieces(file_, header_.offset(), [&](std::string_view piece, int64_t end) {
          request.set_data(std::string(piece));
          open = open && writer->Write(request);
          progress_.Set(static_cast<double>(end) / static_cast<double>(header_.size_bytes()));
          return open;
        });
    if (!read.ok()) context.TryCancel();
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    RETURN_IF_ERROR(read);
    return status;
  }

  absl::Status Failed(const grpc::Status& status) const {
    absl::Status error = ClientError(status, flags_);
    if (header_.offset() == 0) return error;
    return engine::WithContext(
        error, absl::StrCat("the server has ", engine::HumanBytes(header_.offset()), " of ",
                            engine::HumanBytes(header_.size_bytes()),
                            ", and the same command goes on from there"));
  }

  const ClientFlags& flags_;
  const engine::DataFile& file_;
  v1::UploadHeader header_;
  const std::unique_ptr<v1::DatasetService::Stub> stub_;
  v1::UploadDatasetResponse response_;
  Progress progress_{"Uploading"};
  bool reached_ = false;
};

}  // namespace

absl::StatusOr<v1::Dataset> UploadFile(const ClientFlags& flags, const std::string& path,
                                       v1::UploadHeader header) {
  ASSIGN_OR_RETURN(const engine::DataFile file, engine::DataFile::Open(path));
  RETURN_IF_ERROR(SetSizeAndDigest(file, header));
  if (header.id().empty()) header.set_id(DefaultId(header));
  return Uploader(flags, file, std::move(header)).Run();
}

}  // namespace whipsnake::server
