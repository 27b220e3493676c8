#include "server/rpc/dataset_upload_call.h"

#include <grpcpp/alarm.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/human.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/call_context.h"
#include "server/rpc/messages.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kMaxDataBytes = int64_t{1} << 20;

absl::Status TooManyUploads() {
  return WithReason(
      absl::ResourceExhaustedError("too many uploads are in progress; try again later"),
      "TOO_MANY_UPLOADS");
}

absl::Status Displaced() {
  return WithReason(absl::UnavailableError("no data came for some time, and another upload needed "
                                           "the place; the upload can be continued"),
                    "UPLOAD_DISPLACED");
}

absl::Status Stalled(std::chrono::milliseconds timeout) {
  const std::string time = engine::HumanDuration(std::chrono::duration<double>(timeout).count());
  return WithReason(absl::DeadlineExceededError(
                        absl::StrCat("no data came for ", time, "; the upload can be continued")),
                    "UPLOAD_STALLED");
}

// The call is in one of three phases. While it reads, gRPC owns message_. While it works, a task of
// the pool owns everything that is not guarded. Whoever moves it from reading to working queues
// that task, so there is one at a time.
class DatasetUploadCall final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                                public AbortableCall,
                                public PlaceHolder {
 public:
  DatasetUploadCall(const DatasetUploadEnvironment& environment,
                    grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
      : environment_(environment), context_(context), response_(response) {}

  void Start(std::shared_ptr<DatasetUploadCall> self) {
    self_ = std::move(self);
    if (!environment_.uploads->places.Take(self_)) {
      End(TooManyUploads());
    } else if (absl::Status status = environment_.uploads->calls.Add(this); !status.ok()) {
      End(status);
    } else {
      Read();
    }
  }

  void OnReadDone(bool ok) override {
    {
      engine::MutexLock lock(mutex_);
      if (phase_ != Phase::kReading) return;  // cut off in the meantime
      phase_ = Phase::kWorking;
      environment_.uploads->places.SetSilent(this, false);
    }
    environment_.pool->Continue([self = self_, ok] { self->Work(ok); });
  }

  void OnCancel() override { Cut(absl::CancelledError("the client disconnected")); }

  void Abort() override { Cut(DrainingError()); }

  void GiveWay() override { Cut(Displaced()); }

  void OnDone() override {
    environment_.uploads->calls.Remove(this);
    environment_.uploads->places.Free(this);
    self_.reset();
  }

 private:
  enum class Phase { kReading, kWorking, kEnded };

  // Waits for the next message, unless the call was cut off.
  void Read() {
    absl::Status cut;
    {
      engine::MutexLock lock(mutex_);
      cut = cut_;
      if (cut.ok()) {
        phase_ = Phase::kReading;
        environment_.uploads->places.SetSilent(this, true);
        const int64_t read = ++reads_;
        stall_.emplace();
        stall_->Set(std::chrono::system_clock::now() + environment_.stall_timeout,
                    [weak = std::weak_ptr(self_), read](bool rang) {
                      const auto self = weak.lock();
                      if (rang && self != nullptr) self->OnStall(read);
                    });
        // With the lock held, so that a Finish comes after it. gRPC calls OnReadDone on another
        // thread.
        StartRead(&message_);
      }
    }
    if (!cut.ok()) End(cut);
  }

  void OnStall(int64_t read) {
    {
      engine::MutexLock lock(mutex_);
      if (phase_ != Phase::kReading || read != reads_) return;
    }
    Cut(Stalled(environment_.stall_timeout));
  }

  // Ends the call: at once if it reads, otherwise before its next read.
  void Cut(const absl::Status& why) {
    {
      engine::MutexLock lock(mutex_);
      if (!cut_.ok()) return;
      cut_ = why;
      if (phase_ != Phase::kReading) return;
      phase_ = Phase::kWorking;
    }
    environment_.pool->Continue([self = self_, why] { self->End(why); });
  }

  // On a thread of the pool. `has_message`: otherwise the client has sent all, or is gone.
  void Work(bool has_message) {
    bool ends = !has_message;
    const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
      if (!has_message) return FinishUpload();
      ASSIGN_OR_RETURN(ends, TakeMessage());
      return absl::OkStatus();
    });
    if (ends || !status.ok()) {
      End(status);
    } else {
      Read();
    }
  }

  // Returns whether the call ends, because the server has all data already.
  absl::StatusOr<bool> TakeMessage() {
    v1::UploadDatasetRequest request;
    RETURN_IF_ERROR(ParseMessage(message_, &request));
    message_.Clear();
    if (request.has_header()) return TakeHeader(request.header());
    if (upload_ == nullptr) {
      return engine::InvalidField("header", "none", "a header in the first message");
    }
    const auto size = std::ssize(request.data());
    if (size > kMaxDataBytes) {
      return engine::InvalidField("data", absl::StrCat(size, " bytes"),
                                  absl::StrCat("at most ", kMaxDataBytes));
    }
    RETURN_IF_ERROR(upload_->Append(request.data()));
    return false;
  }

  absl::StatusOr<bool> TakeHeader(const v1::UploadHeader& header) {
    if (upload_ != nullptr) {
      return engine::InvalidField("header", "a second one", "only data after the first message");
    }
    if (CallRecord* record = RecordOf(context_)) record->TakeFrom(header);
    ASSIGN_OR_RETURN(DatasetStore::BegunUpload begun, environment_.datasets->Begin(header));
    upload_ = std::move(begun.upload);
    if (upload_ == nullptr) Respond(*std::move(begun.complete));
    return upload_ == nullptr;
  }

  absl::Status FinishUpload() {
    if (upload_ == nullptr) {
      return engine::InvalidField("header", "none", "a header in the first message");
    }
    ASSIGN_OR_RETURN(v1::Dataset dataset, upload_->Finish());
    Respond(std::move(dataset));
    return absl::OkStatus();
  }

  void Respond(v1::Dataset dataset) {
    v1::UploadDatasetResponse response;
    *response.mutable_dataset() = std::move(dataset);
    *response_ = SerializeMessage(response);
  }

  void End(const absl::Status& status) {
    upload_.reset();  // before the client hears of it, so that it may go on at once
    {
      engine::MutexLock lock(mutex_);
      phase_ = Phase::kEnded;
      stall_.reset();
    }
    Finish(MakeEnd([&] { return ToGrpc(status); }));
  }

  const DatasetUploadEnvironment environment_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<DatasetUploadCall> self_;  // until gRPC is done with the call
  grpc::ByteBuffer message_;
  std::unique_ptr<DatasetUpload> upload_;  // null before the header
  engine::Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kWorking;
  absl::Status cut_ ABSL_GUARDED_BY(mutex_);  // not OK once the call is to end early
  int64_t reads_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<grpc::Alarm> stall_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* StartDatasetUpload(
    const DatasetUploadEnvironment& environment, grpc::CallbackServerContext* context,
    grpc::ByteBuffer* response) {
  const auto call = std::make_shared<DatasetUploadCall>(environment, context, response);
  call->Start(call);
  return call.get();
}

}  // namespace whipsnake::server
