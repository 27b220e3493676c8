// grpc.health.v1.Health on gRPC's callback API.
//
// gRPC's own implementation never forgets a name, but models have names that clients choose. A
// change is recorded at once, and sent to the watches by the service's own thread, because the
// threads that make changes hold locks, and there may be many watches.
#ifndef WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace whipsnake::server {

class HealthWatch;

using RawHealthService = grpc::health::v1::Health::WithRawCallbackMethod_Check<
    grpc::health::v1::Health::WithRawCallbackMethod_Watch<grpc::health::v1::Health::Service>>;

// Thread-safe.
class HealthService final : public RawHealthService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  static constexpr size_t kMaxWatches = 1024;  // one for each connection at the default limit
  static constexpr size_t kMaxWatchesOfHost = kMaxWatches / 4;

  explicit HealthService(size_t max_watches = kMaxWatches,
                         size_t max_watches_of_host = kMaxWatchesOfHost);
  // All calls must have ended.
  ~HealthService() override;

  // Set, Remove and ShutDown do not wait for watches.
  void Set(const std::string& service, bool serving);
  // Makes the name unknown.
  void Remove(const std::string& service);
  // Makes all known names NOT_SERVING, whatever is set later.
  void ShutDown();

  // NOT_FOUND for an unknown name.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  // Streams the current status and then every change; of changes in quick succession only the last.
  // SERVICE_UNKNOWN for an unknown name. RESOURCE_EXHAUSTED if there are too many watches, in all
  // or of the client's host.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  friend class HealthWatch;

  Status StatusOf(std::string_view service) const;
  absl::Status AddWatch(const std::shared_ptr<HealthWatch>& watch);
  absl::Status CheckLimits(const std::string& host) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveWatch(HealthWatch* watch);
  void MarkChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyLoop();
  // Waits for a change and notifies the watches. Returns false once stopping.
  bool Step();

  const size_t max_watches_, max_watches_of_host_;
  mutable engine::Mutex mutex_;
  std::map<std::string, bool, std::less<>> serving_ ABSL_GUARDED_BY(mutex_);
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::unordered_map<HealthWatch*, std::weak_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mutex_);
  engine::CondVar wake_;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;  // since the watches were last notified
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread notifier_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_
