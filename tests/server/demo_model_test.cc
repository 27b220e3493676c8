// The daemon with the real engine and the demo model of the repository.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

constexpr const char* kDemoModel = "deploy/models/mamba-demo";

TEST(DemoModelTest, GreedyTextIsTheReferences) {
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http = "127.0.0.1:0";
  options.models = {{"demo", kDemoModel}};
  options.threads = 2;
  TestServer server(std::move(options));

  std::ifstream file(std::string(kDemoModel) + "/reference.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_FALSE(reference["greedy"].empty());
  for (const auto& expected : reference["greedy"]) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = Greedy(expected["prompt"], expected["token_ids"].size());
    request.mutable_parameters()->mutable_output()->set_token_ids(true);
    request.mutable_parameters()->mutable_stopping()->set_ignore_eos(true);
    grpc::ClientContext context;
    const grpc::Status status = server.generation->Generate(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const auto& ids = response.completions(0).token_ids();
    EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.end()),
              expected["token_ids"].get<std::vector<int32_t>>())
        << expected["prompt"];
  }
}

}  // namespace
}  // namespace whipsnake::server
