// Clients that do not read, and clients that are gone without a word.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;

// Stands between a client and a server, and can go silent: both connections stay open, and nothing
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
  void GoSilent() { silent_ = true; }

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

  static void Pass(int from, int to) {
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
      if (Readable(client_)) Pass(client_, server_);
      if (Readable(server_)) Pass(server_, client_);
    }
  }

  const int server_port_;
  std::string address_;
  int listener_ = -1, client_ = -1, server_ = -1;
  std::atomic<bool> silent_{false}, stopped_{false};
  std::thread thread_;
};

void WaitForCancelled(TestServer& server) {
  while (server.Metrics().find("whipsnake_requests_finished_total{model=\"alphabet\","
                               "reason=\"cancelled\"} 1\n") == std::string::npos) {
    std::this_thread::yield();
  }
}

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
  WaitForCancelled(server);  // the client's window is full, then the server's buffer
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
  EXPECT_THAT(status.error_message(), HasSubstr("too slowly"));
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
  relay.GoSilent();
  WaitForCancelled(server);
  context.TryCancel();
  while (reader->Read(&event)) continue;
  reader->Finish();
}

}  // namespace
}  // namespace whipsnake::server
