// The line of the log for each call, and what the client learns of it, over gRPC.
#include "server/rpc/call_log.h"

#include <limits>
#include <map>
#include <sstream>

#include "server/logging.h"
#include "tests/server/support.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// Records what a server logs until End, which stops it: a line may be written after its call ends.
class CallLogTest : public testing::Test {
 protected:
  void Start(DaemonOptions options) {
    testing::internal::CaptureStderr();
    server_.emplace(std::move(options));
  }
  void Start() { Start(FakeOptions(engine_)); }

  // Returns the lines that tell of calls of this method, or of calls of a text in them.
  std::vector<std::string> End(const std::string& text) {
    server_.reset();
    std::istringstream log(testing::internal::GetCapturedStderr());
    std::vector<std::string> lines;
    for (std::string line; std::getline(log, line);) {
      const bool is_call = line.find(" request ") != line.npos;
      if (is_call && line.find(text) != line.npos) lines.push_back(line);
    }
    return lines;
  }

  static std::string Trailing(const grpc::ClientContext& context, const char* key) {
    const auto found = context.GetServerTrailingMetadata().find(key);
    if (found == context.GetServerTrailingMetadata().end()) return "";
    return {found->second.data(), found->second.size()};
  }

  grpc::Status Generate(const v1::GenerationParameters& parameters, grpc::ClientContext* context) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = parameters;
    return server_->generation->Generate(context, request, &response);
  }

  FakeEngine engine_;
  std::optional<TestServer> server_;
};

TEST_F(CallLogTest, ASuccessfulCallHasItsIdsAndItsNumbers) {
  Start();
  v1::GenerationParameters parameters = Greedy("abc", 4);
  parameters.set_client("acme");
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdMetadata, "r1");
  context.AddMetadata(kTraceParentMetadata, kParent);
  ASSERT_TRUE(Generate(parameters, &context).ok());
  EXPECT_EQ(Trailing(context, kRequestIdMetadata), "r1");
  EXPECT_EQ(Trailing(context, kTraceParentMetadata), kParent);
  const std::vector<std::string> lines = End("request_id=r1 ");
  ASSERT_EQ(lines.size(), 1);
  for (const char* field :
       {" info request finished ", " method=whipsnake.v1.GenerationService/Generate ",
        " client=acme ", " peer=ipv4:127.0.0.1:", " trace_id=4bf92f3577b34da6a3ce929d0e0e4736 ",
        " model=alphabet ", " prompt_tokens=3 ", " generated_tokens=4 ", " queue_seconds=",
        " prefill_seconds=", " time_to_first_token_seconds=", " finish_reason=length ",
        " seconds=", " code=OK"}) {
    EXPECT_THAT(lines.front(), HasSubstr(field));
  }
  EXPECT_THAT(lines.front(), Not(HasSubstr("abc")));
}

TEST_F(CallLogTest, ARefusedCallHasItsReasonAndField) {
  Start();
  v1::GenerationParameters parameters = Greedy("a", 4);
  parameters.mutable_sampling()->set_temperature(-1);
  parameters.set_request_id("r2");
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdMetadata, "not this one");
  context.AddMetadata(kTraceParentMetadata, "00-zz");
  EXPECT_FALSE(Generate(parameters, &context).ok());
  EXPECT_EQ(Trailing(context, kRequestIdMetadata), "r2");
  EXPECT_EQ(Trailing(context, kTraceParentMetadata), "");
  const std::vector<std::string> lines = End("request_id=r2 ");
  ASSERT_EQ(lines.size(), 1);
  for (const char* field :
       {" info request refused ", " model=alphabet ", " code=INVALID_ARGUMENT ",
        " reason=INVALID_ARGUMENT ", " field=parameters.sampling.temperature"}) {
    EXPECT_THAT(lines.front(), HasSubstr(field));
  }
  EXPECT_THAT(lines.front(), Not(HasSubstr("trace_id")));
}

TEST_F(CallLogTest, AFailureOfTheServerIsAnErrorWithItsMessage) {
  DaemonOptions options = FakeOptions(engine_);
  options.models.push_back({"bad", "/failing"});
  Start(std::move(options));
  v1::GenerationParameters parameters = Greedy("a", 4);
  parameters.set_model("bad");
  grpc::ClientContext context;
  EXPECT_EQ(Generate(parameters, &context).error_code(), grpc::INTERNAL);
  const std::vector<std::string> lines = End(" error request failed ");
  ASSERT_EQ(lines.size(), 1);
  EXPECT_THAT(lines.front(), HasSubstr(" code=INTERNAL "));
  EXPECT_THAT(lines.front(), HasSubstr("error=\"the step failed\""));
  EXPECT_THAT(lines.front(), Not(HasSubstr("finish_reason")));
}

TEST_F(CallLogTest, ACancelledCallIsLoggedAsSuch) {
  Start();
  grpc::ClientContext context;
  context.AddMetadata(kRequestIdMetadata, "r3");
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = Greedy("a", std::numeric_limits<int32_t>::max());
  const auto reader = server_->generation->StreamGenerate(&context, request);
  v1::StreamGenerateResponse event;
  EXPECT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) continue;
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  // The server learns of it a moment later.
  const std::string ended =
      "whipsnake_rpc_requests_total{method=\"whipsnake.v1.GenerationService/StreamGenerate\","
      "code=\"CANCELLED\"} 1\n";
  while (server_->Metrics().find(ended) == std::string::npos) continue;
  const std::vector<std::string> lines = End("request_id=r3 ");
  ASSERT_EQ(lines.size(), 1);
  EXPECT_THAT(lines.front(), HasSubstr(" request cancelled "));
  EXPECT_THAT(lines.front(), HasSubstr(" code=CANCELLED"));
}

// Also those of health and reflection, and those that do not exist.
TEST_F(CallLogTest, EveryMethodLogsOneLine) {
  Start();
  std::vector<std::string> methods = {"/nobody.Service/Method"};
  for (const char* name :
       {"whipsnake.v1.GenerationService", "whipsnake.v1.StateService", "whipsnake.v1.ModelService",
        "whipsnake.v1.DatasetService", "whipsnake.v1.FineTuningService",
        "whipsnake.v1.AdminService", "grpc.health.v1.Health"}) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      methods.push_back("/" + service->full_name() + "/" + service->method(i)->name());
    }
  }
  for (const std::string& method : methods) {
    grpc::ClientContext context;
    context.AddMetadata(kRequestIdMetadata, "id-of" + method + "-");
    // Bytes that are no message, which ends a call of any kind.
    EXPECT_FALSE(CallMethod(*server_, method, "\xFF", &context).ok()) << method;
    EXPECT_EQ(Trailing(context, kRequestIdMetadata), "id-of" + method + "-");
  }
  std::map<std::string, int> counts;
  for (const std::string& line : End("request_id=id-of")) {
    const size_t begin = line.find("id-of") + 5;
    ++counts[line.substr(begin, line.find("- ", begin) - begin)];
  }
  for (const std::string& method : methods) EXPECT_EQ(counts[method], 1) << method;
}

TEST_F(CallLogTest, ManyCallsOfOneMethodDoNotHideThoseOfAnother) {
  Start();
  constexpr int kMany = 10 * LineLimiter::kBurst;
  for (int i = 0; i < kMany; ++i) {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    EXPECT_TRUE(server_->models->ListModels(&context, {}, &response).ok());
  }
  grpc::ClientContext context;
  EXPECT_TRUE(Generate(Greedy("a", 1), &context).ok());
  int lists = 0, generations = 0;
  for (const std::string& line : End("request finished")) {
    lists += line.find("/ListModels ") != line.npos;
    generations += line.find("/Generate ") != line.npos;
  }
  EXPECT_LT(lists, kMany / 2);
  EXPECT_EQ(generations, 1);
}

}  // namespace
}  // namespace whipsnake::server
