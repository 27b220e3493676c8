// For servers that a test makes of a single service: calls are admitted without the interceptor
// that decides in the daemon (rpc/admission.h). Without it no call is.
#ifndef WHIPSNAKE_TESTS_SERVER_ADMITTED_CALLS_H_
#define WHIPSNAKE_TESTS_SERVER_ADMITTED_CALLS_H_

#include <grpcpp/generic/async_generic_service.h>

#include <memory>

#include "server/rpc/call_context.h"

namespace whipsnake::server {

class AdmittedCalls final : public grpc::ContextAllocator {
 public:
  grpc::CallbackServerContext* NewCallbackServerContext() override {
    auto context = std::make_unique<CallContext>();
    context->Admit("", Caller::Everyone(), absl::OkStatus());
    return context.release();
  }
  grpc::GenericCallbackServerContext* NewGenericCallbackServerContext() override {
    return new grpc::GenericCallbackServerContext;
  }
  void Release(grpc::CallbackServerContext* context) override { delete context; }
  void Release(grpc::GenericCallbackServerContext* context) override { delete context; }
};

// For ServerBuilder::SetContextAllocator.
inline std::unique_ptr<grpc::ContextAllocator> AdmitEveryCall() {
  return std::make_unique<AdmittedCalls>();
}

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_ADMITTED_CALLS_H_
