// Clients that do not read, and clients that disappear silently.
#include <grpcpp/generic/generic_stub.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "tests/server/http_client.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;

// A relay between a client and a server. It can go silent: both connections stay open, but nothing
// passes any more, as when a cable is cut.
class Relay {
 public:
  explicit Relay(const std::string& server_address)
      : server_port_(std::stoi(server_address.substr(server_address.rfind(':') + 1))) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    socklen_t size = sizeof(address);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { Run(); });
  }
  ~Relay() {
    stopped_ = true;
    thread_.join();
    for (const int descriptor : {listener_, client_, server_}) close(descriptor);
  }

  const std::string& address() const { return address_; }
  void StopForwarding() { silent_ = true; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  static bool Readable(int descriptor) {
    pollfd poll_one{descriptor, POLLIN, 0};
    return poll(&poll_one, 1, /*milliseconds=*/1) > 0;
  }

  static void Forward(int from, int to) {
    char buffer[4096];
    const ssize_t count = recv(from, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (count <= 0) return;
    EXPECT_EQ(send(to, buffer, count, MSG_NOSIGNAL), count);
  }

  void Run() {
    while (!stopped_ && !Readable(listener_)) continue;
    if (stopped_) return;
    client_ = accept(listener_, nullptr, nullptr);
    server_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(server_port_);
    EXPECT_EQ(connect(server_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    while (!stopped_) {
      if (silent_) {
        std::this_thread::yield();
        continue;
      }
      if (Readable(client_)) Forward(client_, server_);
      if (Readable(server_)) Forward(server_, client_);
    }
  }

  const int server_port_;
  std::string address_;
  int listener_ = -1, client_ = -1, server_ = -1;
  std::atomic<bool> silent_{false}, stopped_{false};
  std::thread thread_;
};

void WaitForEnd(TestServer& server, const std::string& reason) {
  const std::string series =
      "whipsnake_requests_finished_total{model=\"alphabet\",reason=\"" + reason + "\"} 1\n";
  while (Http(server.daemon->http_address(), "GET", "/metrics").find(series) == std::string::npos) {
    std::this_thread::yield();
  }
}

void WaitForCancelled(TestServer& server) { WaitForEnd(server, "cancelled"); }

v1::StreamGenerateRequest Endless() {
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = Greedy("a", std::numeric_limits<int32_t>::max());
  return request;
}

TEST(BadPeersTest, WhoDoesNotReadIsGivenUp) {
  FakeEngine engine;
  engine.generator.max_unread_tokens = 100;
  TestServer server(FakeOptions(engine));
  grpc::ClientContext context;
  const auto reader = server.generation->StreamGenerate(&context, Endless());
  WaitForCancelled(server);  // first the client's window fills, then the server's buffer
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
  EXPECT_THAT(status.error_message(), HasSubstr("too slowly"));
}

// A channel whose streams have windows of 64 KiB that do not grow.
std::shared_ptr<grpc::Channel> SmallWindowChannel(const TestServer& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 16);
  return grpc::CreateCustomChannel(server.daemon->grpc_address(),
                                   grpc::InsecureChannelCredentials(), arguments);
}

// A stream whose client reads nothing. At its end more data waits than fits into the stream's
// window.
struct UnreadStream {
  explicit UnreadStream(std::chrono::milliseconds end_timeout) {
    engine.generator.max_unread_tokens = 1000;
    DaemonOptions options = FakeOptions(engine);
    options.end_timeout = end_timeout;
    server.emplace(std::move(options));
    v1::StreamGenerateRequest request = Endless();
    request.mutable_parameters()->mutable_output()->set_logprobs(20);
    reader = v1::GenerationService::NewStub(SmallWindowChannel(*server))
                 ->StreamGenerate(&context, request);
    WaitForCancelled(*server);
  }

  grpc::Status ReadToEnd() {
    v1::StreamGenerateResponse event;
    while (reader->Read(&event)) continue;
    return reader->Finish();
  }

  FakeEngine engine;
  std::optional<TestServer> server;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::StreamGenerateResponse>> reader;
};

TEST(BadPeersTest, WhoDoesNotReadLetsTheModelGo) {
  UnreadStream unread(std::chrono::hours(1));
  grpc::ClientContext context;
  v1::UnloadModelRequest request;
  request.set_name("alphabet");
  v1::UnloadModelResponse response;
  EXPECT_TRUE(unread.server->models->UnloadModel(&context, request, &response).ok());
  EXPECT_EQ(ReasonOf(unread.ReadToEnd()), "SLOW_READER");
}

TEST(BadPeersTest, WhoDoesNotReadTheEndOfAStreamIsCut) {
  UnreadStream unread(std::chrono::milliseconds(1));
  unread.server->daemon->RequestDrain(std::chrono::hours(1));
  unread.server->daemon->Wait();
  const grpc::Status status = unread.ReadToEnd();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_EQ(ReasonOf(status), "");
}

TEST(BadPeersTest, WhoDoesNotReadAResponseIsCut) {
  FakeEngine engine;
  DaemonOptions options = FakeOptions(engine);
  options.end_timeout = std::chrono::milliseconds(1);
  TestServer server(std::move(options));
  v1::GenerateRequest request;
  *request.mutable_parameters() = Greedy("a", 200'000);  // more than a stream's window
  const grpc::Slice bytes(request.SerializeAsString());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(SmallWindowChannel(server));
  const auto call = stub.PrepareCall(&context, "/whipsnake.v1.GenerationService/Generate", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  call->WriteLast(grpc::ByteBuffer(&bytes, 1), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  WaitForEnd(server, "length");
  server.daemon->RequestDrain(std::chrono::hours(1));
  server.daemon->Wait();
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  EXPECT_TRUE(queue.Next(&tag, &ok) && !ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
}

TEST(BadPeersTest, ADeadPeersRequestEnds) {
  FakeEngine engine;
  DaemonOptions options = FakeOptions(engine);
  options.keepalive_interval = std::chrono::milliseconds(200);
  options.keepalive_timeout = std::chrono::milliseconds(200);
  TestServer server(std::move(options));
  Relay relay(server.daemon->grpc_address());
  const auto channel = grpc::CreateChannel(relay.address(), grpc::InsecureChannelCredentials());
  const auto stub = v1::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = stub->StreamGenerate(&context, Endless());
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  relay.StopForwarding();
  WaitForCancelled(server);
  context.TryCancel();
  while (reader->Read(&event)) continue;
  reader->Finish();
}

}  // namespace
}  // namespace whipsnake::server
