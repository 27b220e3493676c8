// The daemon with the real engine and both demo models of the repository in one process.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

const std::pair<std::string, std::string> kDemoModels[] = {
    {"mamba", "deploy/models/mamba-demo"}, {"gpt2", "deploy/models/gpt2-crrelu-demo"}};

void ExpectReference(TestServer& server, const std::string& model, const std::string& directory) {
  std::ifstream file(directory + "/reference.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  ASSERT_FALSE(reference["greedy"].empty());
  for (const auto& expected : reference["greedy"]) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = Greedy(expected["prompt"], expected["token_ids"].size());
    request.mutable_parameters()->set_model(model);
    request.mutable_parameters()->mutable_output()->set_token_ids(true);
    request.mutable_parameters()->mutable_stopping()->set_ignore_eos(true);
    grpc::ClientContext context;
    const grpc::Status status = server.generation->Generate(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const auto& ids = response.completions(0).token_ids();
    EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.end()),
              expected["token_ids"].get<std::vector<int32_t>>())
        << model << ": " << expected["prompt"];
  }
}

TEST(DemoModelTest, GreedyTextIsTheReferences) {
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http = "127.0.0.1:0";
  for (const auto& [name, directory] : kDemoModels) options.models.push_back({name, directory});
  options.threads = 2;
  TestServer server(std::move(options));

  for (const auto& [name, directory] : kDemoModels) ExpectReference(server, name, directory);
}

// The prompt has more tokens than the model has positions.
TEST(DemoModelTest, APromptThatIsTooLongIsNamed) {
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http = "127.0.0.1:0";
  options.models = {{"gpt2", "deploy/models/gpt2-crrelu-demo"}};
  options.threads = 2;
  TestServer server(std::move(options));
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy("", 1);
  request.mutable_parameters()->set_model("gpt2");
  request.mutable_parameters()->clear_text();
  for (int i = 0; i < 513; ++i) request.mutable_parameters()->mutable_token_ids()->add_ids(5);
  grpc::ClientContext context;
  const grpc::Status status = server.generation->Generate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("513 tokens seen, expected 1 to 512"), std::string::npos)
      << status.error_message();
}

}  // namespace
}  // namespace whipsnake::server
