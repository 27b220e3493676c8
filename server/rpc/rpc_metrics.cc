#include "server/rpc/rpc_metrics.h"

#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "server/rpc/method_names.h"

namespace whipsnake::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

class RpcTimer : public grpc::experimental::Interceptor {
 public:
  RpcTimer(Metrics& metrics, std::string method)
      : metrics_(metrics),
        method_(std::move(method)),
        in_progress_(metrics.rpcs_in_progress.With({method_})) {
    in_progress_.Add(1);
  }
  // gRPC destroys an interceptor when the call is over, however it ended.
  ~RpcTimer() override { in_progress_.Add(-1); }

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
  Gauge& in_progress_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

class RpcTimerFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  RpcTimerFactory(Metrics& metrics, const std::vector<std::string>& services)
      : metrics_(metrics), methods_(services) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new RpcTimer(metrics_, std::string(methods_.Of(info->method())));
  }

 private:
  Metrics& metrics_;
  const MethodNames methods_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics(
    Metrics& metrics, const std::vector<std::string>& services) {
  return std::make_unique<RpcTimerFactory>(metrics, services);
}

}  // namespace whipsnake::server
