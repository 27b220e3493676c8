#include "server/rpc/call_context.h"

#include <utility>

namespace whipsnake::server {
namespace {

class CallContexts final : public grpc::ContextAllocator {
 public:
  using grpc::ContextAllocator::Release;

  grpc::CallbackServerContext* NewCallbackServerContext() override { return new CallContext; }
  // The library also releases contexts that it has made itself: those of methods that do not exist.
  void Release(grpc::CallbackServerContext* context) override { delete CallContext::Of(context); }
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
  return ours == nullptr ? absl::OkStatus() : ours->admission();
}

CallRecord* RecordOf(const grpc::ServerContextBase* context) {
  const CallContext* ours = CallContext::Of(context);
  return ours == nullptr ? nullptr : ours->record();
}

const Caller& CallerOf(const grpc::ServerContextBase* context) {
  static const Caller kEveryone = Caller::Everyone();
  const CallContext* ours = CallContext::Of(context);
  return ours == nullptr ? kEveryone : ours->caller();
}

}  // namespace whipsnake::server
