#include "server/rpc/admission.h"

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/exceptions.h"
#include "server/rpc/call_context.h"
#include "server/rpc/method_scopes.h"
#include "server/rpc/tls_credentials.h"

namespace whipsnake::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

constexpr const char* kAuthorization = "authorization";

// The value of the metadata, "" if it is absent. Several are one that no token equals.
std::string_view AuthorizationOf(const grpc::ServerContextBase& context) {
  const auto [begin, end] = context.client_metadata().equal_range(kAuthorization);
  if (begin == end) return {};
  if (std::next(begin) != end) return "several";
  return {begin->second.data(), begin->second.size()};
}

class Admission : public grpc::experimental::Interceptor {
 public:
  Admission(const AccessControl& access, CallContext* context, std::string_view method,
            Scope needed)
      : access_(access), context_(context), method_(method), needed_(needed) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    const bool begins =
        methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA);
    // An exception leaves the context as it is: not admitted.
    if (begins && context_ != nullptr) engine::CatchExceptions([&] { Admit(); }).IgnoreError();
    methods->Proceed();
  }

 private:
  void Admit() {
    const std::string certificate = CertificateNameOf(*context_);
    const AccessControl::Credentials credentials = {.authorization = AuthorizationOf(*context_),
                                                    .certificate_name = certificate};
    AccessControl::Decision decision = access_.Decide(credentials, needed_, method_);
    context_->Admit(method_, std::move(decision.caller), std::move(decision.status));
  }

  const AccessControl& access_;
  CallContext* const context_;  // null: a method that does not exist
  const std::string_view method_;
  const Scope needed_;
};

class AdmissionFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  AdmissionFactory(const AccessControl& access, const std::vector<std::string>& services)
      : access_(access), scopes_(ScopesOf(services)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    std::string_view method = info->method();  // "/whipsnake.v1.GenerationService/Generate"
    if (method.starts_with('/')) method.remove_prefix(1);
    const auto known = scopes_.find(method);
    if (known == scopes_.end()) return nullptr;  // a method that does not exist, or of reflection
    return new Admission(access_, CallContext::Of(info->server_context()), known->first,
                         known->second);
  }

 private:
  const AccessControl& access_;
  const MethodScopes scopes_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeAdmission(
    const AccessControl& access, const std::vector<std::string>& services) {
  return std::make_unique<AdmissionFactory>(access, services);
}

}  // namespace whipsnake::server
