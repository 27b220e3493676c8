#include "server/rpc/call_context.h"

#include <grpcpp/generic/async_generic_service.h>

#include <utility>

namespace whipsnake::server {
namespace {

class CallContexts final : public grpc::ContextAllocator {
 public:
  grpc::CallbackServerContext* NewCallbackServerContext() override { return new CallContext; }
  // Of a call of a method that does not exist. gRPC releases it as a CallbackServerContext, so it
  // must be made here too.
  grpc::GenericCallbackServerContext* NewGenericCallbackServerContext() override {
    return new grpc::GenericCallbackServerContext;
  }
  void Release(grpc::CallbackServerContext* context) override { delete context; }
  void Release(grpc::GenericCallbackServerContext* context) override { delete context; }
};

}  // namespace

CallContext* CallContext::Of(grpc::ServerContextBase* context) {
  return dynamic_cast<CallContext*>(context);
}

const CallContext* CallContext::Of(const grpc::ServerContextBase* context) {
  return dynamic_cast<const CallContext*>(context);
}

void CallContext::Admit(std::string_view method, Caller caller, absl::Status admission) {
  method_ = std::string(method);
  caller_ = std::move(caller);
  admission_ = std::move(admission);
}

std::unique_ptr<grpc::ContextAllocator> MakeCallContexts() {
  return std::make_unique<CallContexts>();
}

absl::Status CheckAdmission(const grpc::ServerContextBase* context) {
  const CallContext* ours = CallContext::Of(context);
  return ours == nullptr ? absl::InternalError("the server has no admission for the call")
                         : ours->admission();
}

CallRecord* RecordOf(const grpc::ServerContextBase* context) {
  const CallContext* ours = CallContext::Of(context);
  return ours == nullptr ? nullptr : ours->record();
}

const Caller& CallerOf(const grpc::ServerContextBase* context) {
  static const Caller kNobody = {};
  const CallContext* ours = CallContext::Of(context);
  return ours == nullptr ? kNobody : ours->caller();
}

}  // namespace whipsnake::server
