#include "server/rpc/reflection.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <vector>

namespace whipsnake::server {
namespace {

using Plugins = std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>;

class ReflectionOption final : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool offered) : offered_(offered) {}

  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(Plugins* plugins) override {
    std::erase_if(*plugins, [&](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return IsReflection(*plugin);
    });
    if (!offered_) return;
    plugins->push_back(std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>());
  }

 private:
  static bool IsReflection(grpc::ServerBuilderPlugin& plugin) {
    return dynamic_cast<grpc::reflection::ProtoServerReflectionPlugin*>(&plugin) != nullptr;
  }

  const bool offered_;
};

}  // namespace

std::unique_ptr<grpc::ServerBuilderOption> MakeReflection(bool offered) {
  return std::make_unique<ReflectionOption>(offered);
}

}  // namespace whipsnake::server
