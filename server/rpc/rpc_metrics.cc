#include "server/rpc/rpc_metrics.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace whipsnake::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

class RpcTimer : public grpc::experimental::Interceptor {
 public:
  RpcTimer(Metrics& metrics, std::string method) : metrics_(metrics), method_(std::move(method)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Record(methods->GetSendStatus());
    }
    methods->Proceed();
  }

 private:
  void Record(const grpc::Status& status) {
    const auto code = static_cast<absl::StatusCode>(status.error_code());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    metrics_.rpc_requests.With({method_, absl::StatusCodeToString(code)}).Add();
    metrics_.rpc_duration.With({method_}).Observe(seconds.count());
  }

  Metrics& metrics_;
  const std::string method_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

class RpcTimerFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit RpcTimerFactory(Metrics& metrics) : metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    std::string method = info->method();  // "/whipsnake.v1.GenerationService/Generate"
    if (method.starts_with('/')) method.erase(0, 1);
    return new RpcTimer(metrics_, std::move(method));
  }

 private:
  Metrics& metrics_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics(
    Metrics& metrics) {
  return std::make_unique<RpcTimerFactory>(metrics);
}

}  // namespace whipsnake::server
