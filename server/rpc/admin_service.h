// AdminService on gRPC's callback API.
#ifndef WHIPSNAKE_SERVER_RPC_ADMIN_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_ADMIN_SERVICE_H_

#include <chrono>
#include <functional>
#include <optional>

#include "engine/base/memory.h"
#include "server/metrics/metrics.h"
#include "server/rpc/active_calls.h"
#include "whipsnake/v1/admin.grpc.pb.h"

namespace whipsnake::server {

// What the service uses. All pointers must outlive its calls.
struct AdminServiceEnvironment {
  const Metrics* metrics = nullptr;
  const engine::Ledger* ledger = nullptr;
  const ActiveCalls* active_calls = nullptr;
  int threads = 0;
  std::chrono::system_clock::time_point start_time;
  // Asks the daemon to drain, with this grace period if given. Returns at once. Thread-safe.
  std::function<void(std::optional<std::chrono::milliseconds>)> request_drain;
};

using RawAdminService = v1::AdminService::WithRawCallbackMethod_GetServerInfo<
    v1::AdminService::WithRawCallbackMethod_GetMetrics<
        v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>>>;

class AdminService final : public RawAdminService {
 public:
  explicit AdminService(const AdminServiceEnvironment& environment) : environment_(environment) {}

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetMetrics(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;

 private:
  const AdminServiceEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_ADMIN_SERVICE_H_
