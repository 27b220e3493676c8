#include "server/rpc/method_names.h"

#include <google/protobuf/descriptor.h>

namespace whipsnake::server {

MethodNames::MethodNames(const std::vector<std::string>& services) {
  for (const std::string& name : services) {
    const google::protobuf::ServiceDescriptor* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) continue;
    for (int i = 0; i < service->method_count(); ++i) {
      names_.insert(name + "/" + service->method(i)->name());
    }
  }
}

std::string_view MethodNames::Of(std::string_view path) const {
  if (path.starts_with('/')) path.remove_prefix(1);
  const auto known = names_.find(path);
  return known == names_.end() ? kUnknown : std::string_view(*known);
}

}  // namespace whipsnake::server
