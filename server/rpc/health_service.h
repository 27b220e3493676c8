// grpc.health.v1.Health over gRPC's callback API.
//
// gRPC's own implementation never forgets a name, and models have names that clients choose. What
// changes is written down at once, and told to the watches by a thread of the service's: those who
// change it hold locks, and there may be many watches.
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

  static constexpr size_t kMaxWatches = 1024;  // one for each connection that there may be

  explicit HealthService(size_t max_watches = kMaxWatches);
  // All calls must have ended.
  ~HealthService() override;

  // These do not wait for a watch.
  void Set(const std::string& service, bool serving);
  // The name is unknown from then on.
  void Remove(const std::string& service);
  // What is known is NOT_SERVING from then on, whatever is set.
  void ShutDown();

  // NOT_FOUND for an unknown name.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  // The status now and whenever it changes, of changes in quick succession the last;
  // SERVICE_UNKNOWN for a name that is unknown. RESOURCE_EXHAUSTED when there are too many watches.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  friend class HealthWatch;

  Status StatusOf(std::string_view service) const;
  absl::Status Remember(const std::shared_ptr<HealthWatch>& watch);
  void Forget(HealthWatch* watch);
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell();
  // Waits for a change and tells it; false at the end.
  bool Step();

  const size_t max_watches_;
  mutable engine::Mutex mutex_;
  std::map<std::string, bool, std::less<>> serving_ ABSL_GUARDED_BY(mutex_);
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::unordered_map<HealthWatch*, std::weak_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mutex_);
  engine::CondVar wake_;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;  // since the watches were told
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread teller_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_
