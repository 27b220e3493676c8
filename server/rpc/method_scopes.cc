#include "server/rpc/method_scopes.h"

#include "whipsnake/v1/access.pb.h"

namespace whipsnake::server {

using google::protobuf::DescriptorPool;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

Scope ScopeOf(const MethodDescriptor& method) {
  if (method.service()->full_name() == "grpc.health.v1.Health") return Scope::kOpen;
  switch (method.options().GetExtension(v1::scope)) {
    case v1::SCOPE_OPEN:
      return Scope::kOpen;
    case v1::SCOPE_ANY_TOKEN:
      return Scope::kAnyToken;
    case v1::SCOPE_INFER:
      return Scope::kInfer;
    case v1::SCOPE_TRAIN:
      return Scope::kTrain;
    default:
      return Scope::kAdmin;
  }
}

MethodScopes ScopesOf(const std::vector<std::string>& services) {
  MethodScopes scopes;
  for (const std::string& name : services) {
    const ServiceDescriptor* service = DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) continue;
    for (int i = 0; i < service->method_count(); ++i) {
      scopes[name + "/" + service->method(i)->name()] = ScopeOf(*service->method(i));
    }
  }
  return scopes;
}

}  // namespace whipsnake::server
