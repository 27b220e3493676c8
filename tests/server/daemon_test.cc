#include "server/daemon.h"

#include <grpc/health/v1/health.grpc.pb.h>

#include <future>

#include "engine/base/status.h"
#include "tests/server/http_client.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string Health(const TestServer& server, const std::string& service) {
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  HealthCheckResponse response;
  request.set_service(service);
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(server.channel)->Check(&context, request, &response);
  return status.ok() ? HealthCheckResponse::ServingStatus_Name(response.status())
                     : "code " + std::to_string(status.error_code());
}

grpc::Status Generate(TestServer& server, int max_new_tokens) {
  grpc::ClientContext context;
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy("a", max_new_tokens);
  request.mutable_parameters()->set_model("alphabet");
  return server.generation->Generate(&context, request, &response);
}

TEST(DaemonTest, BadOptionsAreRefusedByFlag) {
  FakeEngine engine;
  const auto flag_of = [&](const std::function<void(DaemonOptions&)>& change) {
    DaemonOptions options = FakeOptions(engine);
    change(options);
    return engine::FieldOf(Daemon::Start(std::move(options)).status());
  };
  EXPECT_EQ(flag_of([](auto& o) { o.listen = "nowhere"; }), "--listen");
  EXPECT_EQ(flag_of([](auto& o) { o.listen = "0.0.0.0:0"; }), "--listen");
  EXPECT_EQ(flag_of([](auto& o) { o.http = "0.0.0.0:0"; }), "--http");
  EXPECT_EQ(flag_of([](auto& o) { o.scheme = "fp64"; }), "--scheme");
  EXPECT_EQ(flag_of([](auto& o) { o.models.push_back(o.models[0]); }), "--model");
  EXPECT_EQ(flag_of([](auto& o) { o.model_root = "/not/there"; }), "--model-root");
  EXPECT_EQ(flag_of([](auto& o) { o.memory_fraction = 1.5; }), "--memory-fraction");
  EXPECT_EQ(flag_of([](auto& o) { o.limits.prompt_tokens = 0; }), "--max-prompt-tokens");
  EXPECT_EQ(flag_of([](auto& o) { o.threads = -1; }), "--threads");
}

TEST(DaemonTest, ATakenPortIsAnError) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  DaemonOptions options = FakeOptions(engine);
  options.listen = server.daemon->grpc_address();
  EXPECT_TRUE(absl::IsUnavailable(Daemon::Start(std::move(options)).status()));
  options = FakeOptions(engine);
  options.http = server.daemon->http_address();
  EXPECT_TRUE(absl::IsUnavailable(Daemon::Start(std::move(options)).status()));
}

TEST(DaemonTest, HealthFollowsTheModels) {
  FakeEngine engine;
  DaemonOptions options = FakeOptions(engine);
  options.models.push_back({"bad", "/broken"});
  TestServer server(std::move(options));
  EXPECT_EQ(Health(server, "model/alphabet"), "SERVING");
  EXPECT_EQ(Health(server, "model/bad"), "NOT_SERVING");
  EXPECT_EQ(Health(server, "model/absent"), "code 5");
  EXPECT_EQ(Health(server, "whipsnake.v1.GenerationService"), "SERVING");
  // WaitUntilLoaded returns after health was told.
  EXPECT_EQ(Health(server, ""), "SERVING");
  EXPECT_THAT(Http(server.daemon->http_address(), "GET", "/readyz"),
              HasSubstr("model bad is failed"));
  EXPECT_TRUE(Generate(server, 1).ok());
}

TEST(DaemonTest, ListensWhileItLoads) {
  FakeEngine engine;
  engine.loads.Close();
  auto daemon = Daemon::Start(FakeOptions(engine));
  ASSERT_TRUE(daemon.ok());
  engine.loads.WaitForArrivals(1);
  const std::string http = (*daemon)->http_address();
  EXPECT_THAT(Http(http, "GET", "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Http(http, "GET", "/readyz"), StartsWith("HTTP/1.1 503"));
  engine.loads.Open();
  (*daemon)->WaitUntilLoaded();
  EXPECT_THAT(Http(http, "GET", "/readyz"), StartsWith("HTTP/1.1 200"));
}

TEST(DaemonTest, ServesHttp) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  const std::string http = server.daemon->http_address();
  const std::string metrics = Http(http, "GET", "/metrics");
  EXPECT_THAT(metrics, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(metrics, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_model_state{model=\"alphabet\",state=\"ready\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_build_info{version="));
  const std::string head = Http(http, "HEAD", "/metrics");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_THAT(Http(http, "GET", "/"), HasSubstr("/metrics"));
  EXPECT_THAT(Http(http, "GET", "/nothing"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Http(http, "POST", "/metrics"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Http(http, "DELETE", "/nothing"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Exchange(http, "nonsense\r\n\r\n"), Not(HasSubstr("200")));
  EXPECT_THAT(Http(http, "GET", "/healthz"), HasSubstr("ok"));  // still there
}

TEST(DaemonTest, TellsAboutItself) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(server.admin->GetServerInfo(&context, {}, &info).ok());
  EXPECT_FALSE(info.version().empty());
  EXPECT_EQ(info.threads(), 1);
  EXPECT_FALSE(info.draining());
  EXPECT_GT(info.memory_limit_bytes(), 0);
  // The RPC above has been counted by now; this one has not.
  EXPECT_THAT(server.Metrics(),
              HasSubstr("whipsnake_rpc_requests_total{"
                        "method=\"whipsnake.v1.AdminService/GetServerInfo\",code=\"OK\"} 1\n"));
}

TEST(DaemonTest, DrainLetsWhatRunsFinishAndRefusesTheRest) {
  FakeEngine engine;
  engine.steps.Close();
  TestServer server(FakeOptions(engine));
  std::future<grpc::Status> running =
      std::async(std::launch::async, [&] { return Generate(server, 3); });
  engine.steps.WaitForArrivals(1);

  grpc::ClientContext context;
  v1::DrainRequest request;
  v1::DrainResponse response;
  request.mutable_grace_period()->set_seconds(3600);
  ASSERT_TRUE(server.admin->Drain(&context, request, &response).ok());
  EXPECT_EQ(Health(server, ""), "NOT_SERVING");
  EXPECT_EQ(Health(server, "model/alphabet"), "NOT_SERVING");
  EXPECT_THAT(Http(server.daemon->http_address(), "GET", "/readyz"), HasSubstr("draining"));
  const grpc::Status refused = Generate(server, 1);
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "SERVER_DRAINING");
  EXPECT_TRUE(HasRetry(refused));
  EXPECT_THAT(server.Metrics(), HasSubstr("whipsnake_draining 1\n"));

  engine.steps.Open();
  server.daemon->Wait();
  EXPECT_TRUE(running.get().ok());
}

TEST(DaemonTest, WhatOutlastsTheGracePeriodIsStopped) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  grpc::ClientContext context;
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = Greedy("a", std::numeric_limits<int32_t>::max());
  auto reader = server.generation->StreamGenerate(&context, request);
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  // Nobody may wait for a reader: the engine has to stop for the drain to end.
  std::future<grpc::Status> end = std::async(std::launch::async, [&] {
    while (reader->Read(&event)) continue;
    return reader->Finish();
  });
  server.daemon->RequestDrain(std::chrono::milliseconds(1));
  server.daemon->Wait();
  const grpc::Status status = end.get();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SERVER_DRAINING");
}

TEST(DaemonTest, ABadGracePeriodIsRefused) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  for (const int64_t seconds : {int64_t{-1}, int64_t{3601}, int64_t{1} << 62}) {
    grpc::ClientContext context;
    v1::DrainRequest request;
    v1::DrainResponse response;
    request.mutable_grace_period()->set_seconds(seconds);
    EXPECT_EQ(FieldOf(server.admin->Drain(&context, request, &response)), "grace_period");
  }
  EXPECT_EQ(Health(server, ""), "SERVING");
}

TEST(DaemonTest, StopsWhileClientsWatchItsHealth) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  HealthCheckResponse response;
  auto stub = grpc::health::v1::Health::NewStub(server.channel);
  auto reader = stub->Watch(&context, request);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server.daemon->RequestDrain();
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  server.daemon->Wait();
  EXPECT_FALSE(reader->Read(&response));
}

}  // namespace
}  // namespace whipsnake::server
