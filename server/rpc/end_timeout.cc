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
  alarm_.emplace();  // calls off the last one
  alarm_->Set(std::chrono::system_clock::now() + timeout, Cancellation());
}

void EndTimeout::Expire() { expiry_.Set(std::chrono::system_clock::now(), Cancellation()); }

// gRPC runs the callbacks of a cancellation after the alarm's function, not inside it, so the lock
// is free by then. On a thread that is not gRPC's they would run inside TryCancel.
std::function<void(bool)> EndTimeout::Cancellation() const {
  return [target = target_](bool rang) {
    engine::MutexLock lock(target->mutex);
    if (rang && target->context != nullptr) target->context->TryCancel();
  };
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeEndTimeouts(
    std::chrono::milliseconds timeout) {
  return std::make_unique<EndTimerFactory>(timeout);
}

}  // namespace whipsnake::server
