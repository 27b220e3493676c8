#include "server/rpc/health_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "server/guarded.h"
#include "server/rpc/latest_stream.h"
#include "server/rpc/messages.h"
#include "server/rpc/peer.h"

namespace whipsnake::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// A stream of one name's status.
class HealthWatch final : public LatestStream {
 public:
  // No service has a longer name, and a client may send a name of megabytes.
  static constexpr size_t kLongestName = 256;
  static constexpr const char* kUnknownName = "?";

  // `host` is the client's.
  HealthWatch(HealthService* service, std::string name, std::string host)
      : service_(service),
        name_(name.size() <= kLongestName ? std::move(name) : kUnknownName),
        host_(std::move(host)) {}

  const std::string& host() const { return host_; }

  void Begin(std::shared_ptr<HealthWatch> self) {
    KeepAlive(std::move(self));
    Pump();
  }

 private:
  absl::StatusOr<Step> Next(grpc::ByteBuffer& message) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const HealthService::Status now = service_->StatusOf(name_);
    if (now == written_) return Step::kWait;
    HealthCheckResponse response;
    response.set_status(now);
    message = SerializeMessage(response);
    written_ = now;
    return Step::kWrite;
  }

  void OnEnd() override { service_->RemoveWatch(this); }

  HealthService* const service_;
  const std::string name_, host_;
  std::optional<HealthService::Status> written_ ABSL_GUARDED_BY(mutex_);
};

HealthService::HealthService(size_t max_watches, size_t max_watches_of_host)
    : max_watches_(max_watches), max_watches_of_host_(max_watches_of_host) {
  notifier_ = std::thread([this] { NotifyLoop(); });
}

HealthService::~HealthService() {
  {
    engine::MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  notifier_.join();
}

void HealthService::Set(const std::string& service, bool serving) {
  engine::MutexLock lock(mutex_);
  serving_[service] = serving;
  MarkChanged();
}

void HealthService::Remove(const std::string& service) {
  engine::MutexLock lock(mutex_);
  serving_.erase(service);
  MarkChanged();
}

void HealthService::ShutDown() {
  engine::MutexLock lock(mutex_);
  shut_down_ = true;
  MarkChanged();
}

void HealthService::MarkChanged() {
  changed_ = true;
  wake_.NotifyOne();
}

HealthService::Status HealthService::StatusOf(std::string_view service) const {
  engine::MutexLock lock(mutex_);
  const auto found = serving_.find(service);
  if (found == serving_.end()) return HealthCheckResponse::SERVICE_UNKNOWN;
  return found->second && !shut_down_ ? HealthCheckResponse::SERVING
                                      : HealthCheckResponse::NOT_SERVING;
}

void HealthService::NotifyLoop() {
  bool more = true;
  while (more) RunGuarded("health", [&] { more = Step(); });
}

bool HealthService::Step() {
  std::vector<std::shared_ptr<HealthWatch>> watches;
  {
    engine::MutexLock lock(mutex_);
    while (!changed_ && !stopping_) wake_.Wait(mutex_);
    if (stopping_) return false;
    for (const auto& [pointer, weak] : watches_) {
      if (auto watch = weak.lock()) watches.push_back(std::move(watch));
    }
    changed_ = false;
  }
  // Outside the lock, because each watch reads its status.
  for (const auto& watch : watches) RunGuarded("health", [&] { watch->Pump(); });
  return true;
}

absl::Status HealthService::AddWatch(const std::shared_ptr<HealthWatch>& watch) {
  engine::MutexLock lock(mutex_);
  RETURN_IF_ERROR(CheckLimits(watch->host()));
  watches_.emplace(watch.get(), watch);
  return absl::OkStatus();
}

absl::Status HealthService::CheckLimits(const std::string& host) const {
  const auto full = [](const std::string& origin, size_t limit) {
    return WithReason(absl::ResourceExhaustedError(
                          absl::StrCat("too many health watches", origin, " (limit ", limit, ")")),
                      "TOO_MANY_WATCHES");
  };
  if (watches_.size() >= max_watches_) return full("", max_watches_);
  const size_t own = std::ranges::count_if(
      watches_, [&](const auto& watch) { return watch.first->host() == host; });
  if (own >= max_watches_of_host_) return full(" from " + host, max_watches_of_host_);
  return absl::OkStatus();
}

void HealthService::RemoveWatch(HealthWatch* watch) {
  engine::MutexLock lock(mutex_);
  watches_.erase(watch);
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  const auto check = [this](const HealthCheckRequest& asked,
                            HealthCheckResponse* answer) -> absl::Status {
    answer->set_status(StatusOf(asked.service()));
    if (answer->status() != HealthCheckResponse::SERVICE_UNKNOWN) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("no service ", engine::Quoted(asked.service()), " is known"));
  };
  return AnswerUnary<HealthCheckRequest, HealthCheckResponse>(context, request, response, check);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* HealthService::Watch(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) {
  std::shared_ptr<HealthWatch> watch;
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    HealthCheckRequest request;
    RETURN_IF_ERROR(ReceiveRequest(context, *bytes, &request));
    watch = std::make_shared<HealthWatch>(this, request.service(), PeerHost(*context));
    return AddWatch(watch);
  });
  if (!status.ok()) {
    return new RefusedStream<grpc::ServerWriteReactor<grpc::ByteBuffer>>(status);
  }
  watch->Begin(watch);
  return watch.get();
}

}  // namespace whipsnake::server
