#include "server/daemon.h"

#include <grpc/health/v1/health.grpc.pb.h>

#include <cmath>
#include <filesystem>
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
  for (const double share : {0.0, -0.1, 0.91, std::nan("")}) {
    EXPECT_EQ(flag_of([&](auto& o) { o.training_share = share; }), "--training-share") << share;
  }
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
  options.allow_missing = true;
  TestServer server(std::move(options));
  EXPECT_EQ(Health(server, "model/alphabet"), "SERVING");
  EXPECT_EQ(Health(server, "model/bad"), "NOT_SERVING");
  EXPECT_EQ(Health(server, "model/absent"), "code 5");
  EXPECT_EQ(Health(server, "whipsnake.v1.GenerationService"), "SERVING");
  // WaitUntilLoaded() returns only after the health service was updated.
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
  EXPECT_TRUE((*daemon)->WaitUntilLoaded().ok());
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
  EXPECT_THAT(Http(http, "GET", "/healthz"), HasSubstr("ok"));  // still serving
}

TEST(DaemonTest, WhatDoesNotExistIsOneLabel) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const grpc::Status status =
        CallMethod(server, "/x" + std::to_string(i) + "/" + std::string(1000, 'y'), "", &context);
    EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  }
  const std::string metrics = server.Metrics();
  EXPECT_THAT(metrics, Not(HasSubstr("yyy")));
  EXPECT_THAT(metrics, HasSubstr("whipsnake_rpc_requests_total{method=\"unknown\","
                                 "code=\"UNIMPLEMENTED\"} 20\n"));
}

TEST(DaemonTest, EveryMethodThatIsServedIsALabel) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  Health(server, "");
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  ASSERT_TRUE(server.models->ListModels(&context, {}, &response).ok());
  const std::string metrics = server.Metrics();
  EXPECT_THAT(metrics, HasSubstr("method=\"grpc.health.v1.Health/Check\""));
  EXPECT_THAT(metrics, HasSubstr("method=\"whipsnake.v1.ModelService/ListModels\""));
  EXPECT_THAT(metrics, Not(HasSubstr("unknown")));
}

std::string RequestIdOf(const grpc::Status& status) {
  const auto detail = DetailOf<google::rpc::RequestInfo>(status);
  return detail ? detail->request_id() : "";
}

std::string TrailingRequestId(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("x-request-id");
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

TEST(DaemonTest, ARefusalSaysWhichRequestItWas) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  const auto generate = [&](const std::string& id, grpc::ClientContext* context) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    request.mutable_parameters()->set_request_id(id);
    return server.generation->Generate(context, request, &response);  // without a prompt
  };
  grpc::ClientContext named, unnamed, overlong, other;
  EXPECT_EQ(RequestIdOf(generate("mine", &named)), "mine");
  EXPECT_EQ(TrailingRequestId(named), "mine");
  const std::string made = RequestIdOf(generate("", &unnamed));
  EXPECT_EQ(made.size(), 16u);
  EXPECT_EQ(TrailingRequestId(unnamed), made);
  EXPECT_EQ(RequestIdOf(generate(std::string(129, 'x'), &overlong)).size(), 16u);

  // A method whose request has no id takes the id from the metadata.
  other.AddMetadata("x-request-id", "from-metadata");
  v1::GetModelRequest request;
  v1::GetModelResponse response;
  request.set_name("absent");
  EXPECT_EQ(RequestIdOf(server.models->GetModel(&other, request, &response)), "from-metadata");
}

TEST(DaemonTest, EveryFailingMethodSaysWhichRequestItWas) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  for (const char* service : {"GenerationService", "StateService", "ModelService"}) {
    const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
        "whipsnake.v1." + std::string(service));
    ASSERT_NE(descriptor, nullptr);
    for (int i = 0; i < descriptor->method_count(); ++i) {
      const std::string method =
          "/" + descriptor->full_name() + "/" + descriptor->method(i)->name();
      grpc::ClientContext context;
      context.AddMetadata("x-request-id", "r1");
      const grpc::Status status = CallMethod(server, method, "\xFF", &context);
      EXPECT_FALSE(status.ok()) << method;
      EXPECT_EQ(RequestIdOf(status), "r1") << method << ": " << status.error_message();
      EXPECT_EQ(TrailingRequestId(context), "r1") << method;
    }
  }
}

TEST(DaemonTest, HealthForgetsNamesThatClientsChose) {
  FakeEngine engine;
  DaemonOptions options = FakeOptions(engine);
  options.model_root = testing::TempDir() + "/health_forgets";
  std::filesystem::create_directories(options.model_root + "/good");
  std::filesystem::create_directories(options.model_root + "/broken");
  TestServer server(options);
  const auto load = [&](const std::string& path, const std::string& name) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    v1::LoadModelResponse response;
    request.set_path(path);
    request.set_name(name);
    return server.models->LoadModel(&context, request, &response);
  };
  EXPECT_TRUE(load("good", "good").ok());
  EXPECT_EQ(Health(server, "model/good"), "SERVING");
  grpc::ClientContext context;
  v1::UnloadModelRequest request;
  v1::UnloadModelResponse response;
  request.set_name("good");
  ASSERT_TRUE(server.models->UnloadModel(&context, request, &response).ok());
  EXPECT_EQ(Health(server, "model/good"), "code 5");
  for (int i = 0; i <= ModelRegistry::kMaxFailed; ++i) {
    EXPECT_FALSE(load("broken", "m" + std::to_string(i)).ok());
  }
  EXPECT_EQ(Health(server, "model/m0"), "code 5");
  EXPECT_EQ(Health(server, "model/m1"), "NOT_SERVING");
  std::filesystem::remove_all(options.model_root);
}

// Shuts down the listening socket of `address`, which is found by its port.
void ShutDownListener(const std::string& address) {
  const int port = ListenAddress::Parse(address, "address")->port();
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    int listens = 0;
    sockaddr_in name{};
    socklen_t size = sizeof(listens), name_size = sizeof(name);
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 1 &&
        getsockname(descriptor, reinterpret_cast<sockaddr*>(&name), &name_size) == 0 &&
        ntohs(name.sin_port) == port) {
      shutdown(descriptor, SHUT_RDWR);
    }
  }
}

TEST(DaemonTest, IsUnhealthyWhenItsPortHasCeasedToListen) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  const std::string http = server.daemon->http_address();
  EXPECT_THAT(Http(http, "GET", "/healthz"), StartsWith("HTTP/1.1 200"));
  ShutDownListener(server.daemon->grpc_address());
  std::string answer;
  do answer = Http(http, "GET", "/healthz");
  while (answer.starts_with("HTTP/1.1 200"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("gRPC port"));
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
  // The call above has been counted by now; the one that reads the metrics has not.
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
  // The drain must not wait for the reader: it ends only if the engine stops.
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
