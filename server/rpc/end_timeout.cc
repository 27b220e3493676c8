#include "server/rpc/end_timeout.h"

namespace whipsnake::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

class EndTimer : public grpc::experimental::Interceptor {
 public:
  EndTimer(grpc::ServerContextBase* context, std::chrono::milliseconds timeout)
      : end_timeout_(context), timeout_(timeout) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      end_timeout_.Start(timeout_);
    }
    // Stop here, not in a destructor: a cancellation goes through the other interceptors, which may
    // already be destroyed by then.
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_CLOSE)) {
      end_timeout_.Stop();
    }
    methods->Proceed();
  }

 private:
  EndTimeout end_timeout_;
  const std::chrono::milliseconds timeout_;
};

class EndTimerFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit EndTimerFactory(std::chrono::milliseconds timeout) : timeout_(timeout) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new EndTimer(info->server_context(), timeout_);
  }

 private:
  const std::chrono::milliseconds timeout_;
};

}  // namespace

EndTimeout::EndTimeout(grpc::ServerContextBase* context) : target_(std::make_shared<Target>()) {
  engine::MutexLock lock(target_->mutex);
  target_->context = context;
}

void EndTimeout::Stop() {
  engine::MutexLock lock(target_->mutex);
  target_->context = nullptr;
}

void EndTimeout::Start(std::chrono::milliseconds timeout) {
  // gRPC runs the effects of a cancellation after this function returns, when the lock is released.
  const auto cancel = [target = target_](bool rang) {
    engine::MutexLock lock(target->mutex);
    if (rang && target->context != nullptr) target->context->TryCancel();
  };
  alarm_.Set(std::chrono::system_clock::now() + timeout, cancel);
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeEndTimeouts(
    std::chrono::milliseconds timeout) {
  return std::make_unique<EndTimerFactory>(timeout);
}

}  // namespace whipsnake::server
