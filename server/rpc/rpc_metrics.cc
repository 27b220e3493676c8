#include "server/rpc/rpc_metrics.h"

#include <google/protobuf/descriptor.h>

#include <chrono>
#include <set>
#include <utility>

#include "absl/status/status.h"

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

constexpr const char* kUnknownMethod = "unknown";

using MethodNames = std::set<std::string, std::less<>>;

// "whipsnake.v1.GenerationService/Generate"
MethodNames MethodsOf(const std::vector<std::string>& services) {
  MethodNames methods;
  for (const std::string& name : services) {
    const google::protobuf::ServiceDescriptor* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) continue;
    for (int i = 0; i < service->method_count(); ++i) {
      methods.insert(name + "/" + service->method(i)->name());
    }
  }
  return methods;
}

class RpcTimerFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  RpcTimerFactory(Metrics& metrics, const std::vector<std::string>& services)
      : metrics_(metrics), methods_(MethodsOf(services)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    std::string_view method = info->method();  // "/whipsnake.v1.GenerationService/Generate"
    if (method.starts_with('/')) method.remove_prefix(1);
    const auto known = methods_.find(method);
    return new RpcTimer(metrics_, known == methods_.end() ? kUnknownMethod : *known);
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
