// grpc.health.v1.Health over gRPC's callback API.
//
// gRPC's own implementation never forgets a name, and models have names that clients choose.
#ifndef WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

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

  void Set(const std::string& service, bool serving);
  // The name is unknown from then on.
  void Remove(const std::string& service);
  // What is known is NOT_SERVING from then on, whatever is set.
  void ShutDown();

  // NOT_FOUND for an unknown name.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  // The status now and whenever it changes; SERVICE_UNKNOWN for a name that is unknown.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  friend class HealthWatch;

  Status StatusOf(std::string_view service) const;
  void NotifyWatches();
  void Forget(HealthWatch* watch);

  mutable engine::Mutex mutex_;
  std::map<std::string, bool, std::less<>> serving_ ABSL_GUARDED_BY(mutex_);
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::unordered_map<HealthWatch*, std::weak_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_HEALTH_SERVICE_H_
