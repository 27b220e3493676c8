// What the server knows of a call beside its request: the method, who calls, and whether they may.
#ifndef WHIPSNAKE_SERVER_RPC_CALL_CONTEXT_H_
#define WHIPSNAKE_SERVER_RPC_CALL_CONTEXT_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "server/access/caller.h"
#include "server/rpc/call_record.h"

namespace whipsnake::server {

// The context of every call of the daemon. gRPC makes it before the interceptors of the call and
// releases it after the reactor's OnDone.
//
// Admit is called once, by an interceptor (rpc/admission.h), before the method's handler; after
// that the values are constant, so any thread may read them while the call lasts.
class CallContext final : public grpc::CallbackServerContext {
 public:
  // Null for a context that is none.
  static CallContext* Of(grpc::ServerContextBase* context);
  static const CallContext* Of(const grpc::ServerContextBase* context);

  // "whipsnake.v1.GenerationService/Generate"
  const std::string& method() const { return method_; }
  // Nobody if the call is not admitted, unless the caller is known and lacks the scope.
  const Caller& caller() const { return caller_; }
  // OK if the caller may call the method. Otherwise UNAUTHENTICATED or PERMISSION_DENIED, with
  // which the handler ends the call before it does anything (CheckAdmission).
  const absl::Status& admission() const { return admission_; }

  void Admit(std::string_view method, Caller caller, absl::Status admission);

  // For the call's line in the log; null on a server without one (rpc/call_log.h). Used by one
  // thread at a time: that of the interceptors, then those that work on the call, until its Finish.
  CallRecord* record() const { return record_.get(); }
  void set_record(std::shared_ptr<CallRecord> record) { record_ = std::move(record); }

 private:
  std::string method_;
  Caller caller_;
  std::shared_ptr<CallRecord> record_;
  absl::Status admission_ = absl::InternalError("the call's admission was not decided");
};

// For ServerBuilder::SetContextAllocator: all calls get a CallContext.
std::unique_ptr<grpc::ContextAllocator> MakeCallContexts();

// The same of any context. A call whose context is no CallContext is not admitted (INTERNAL), and
// its caller is nobody.
absl::Status CheckAdmission(const grpc::ServerContextBase* context);
const Caller& CallerOf(const grpc::ServerContextBase* context);
// CallContext::record, null also for a context that is none.
CallRecord* RecordOf(const grpc::ServerContextBase* context);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_CALL_CONTEXT_H_
