// The files of listening Unix sockets, and who counts as one client on them.
#include "server/socket_file.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/files.h"
#include "server/acceptor.h"
#include "server/console/console_guard.h"
#include "server/rpc/peer.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SocketFileTest : public testing::Test {
 protected:
  SocketFileTest() {
    std::string path = testing::TempDir() + "/socket-XXXXXX";
    directory_ = mkdtemp(path.data());
  }
  ~SocketFileTest() override { fs::remove_all(directory_); }

  // A socket that listens at path_.
  struct Server {
    engine::Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    absl::StatusOr<SocketFile> file;
  };
  Server Listen(mode_t mode = 0660) const {
    Server server;
    server.file = SocketFile::Listen(server.socket.get(), path(), mode);
    return server;
  }
  // Leaves the file of a process that was killed.
  void LeaveStaleFile() const {
    const engine::Descriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = ListenAddress::Parse("unix:" + path(), "path");
    ASSERT_EQ(bind(dead.get(), address->address(), address->size()), 0);
    ASSERT_EQ(listen(dead.get(), 1), 0);
  }
  std::string path() const { return directory_ / "s.sock"; }

  fs::path directory_;
};

TEST_F(SocketFileTest, HasTheModeWhateverTheUmask) {
  for (const mode_t mask : {0, 022, 077, 0777}) {
    for (const mode_t mode : {0600, 0660, 0666}) {
      const mode_t before = umask(mask);
      const Server server = Listen(mode);
      umask(before);
      ASSERT_TRUE(server.file.ok()) << server.file.status();
      struct stat status;
      ASSERT_EQ(stat(path().c_str(), &status), 0);
      EXPECT_EQ(status.st_mode & 07777, mode);
    }
  }
}

TEST_F(SocketFileTest, ReplacesADeadServersFileAndNoOther) {
  LeaveStaleFile();
  {
    const Server server = Listen();
    ASSERT_TRUE(server.file.ok()) << server.file.status();
    const Server second = Listen();
    EXPECT_TRUE(absl::IsFailedPrecondition(second.file.status()));
    EXPECT_THAT(std::string(second.file.status().message()), HasSubstr("another server listens"));
    EXPECT_TRUE(fs::is_socket(path())) << "the refused server must not remove the file";
  }
  EXPECT_FALSE(fs::exists(path())) << "it is removed with its server";
  std::ofstream(path()) << "text";
  EXPECT_THAT(std::string(Listen().file.status().message()), HasSubstr("not a socket"));
  EXPECT_TRUE(fs::is_regular_file(path()));
}

TEST_F(SocketFileTest, RemovesOnlyItsOwnFile) {
  {
    const Server server = Listen();
    ASSERT_TRUE(server.file.ok());
    fs::remove(path());
    LeaveStaleFile();
  }
  EXPECT_TRUE(fs::exists(path()));
}

TEST_F(SocketFileTest, OfManyServersAtOnceOneListens) {
  for (int round = 0; round < 20; ++round) {
    LeaveStaleFile();
    constexpr int kServers = 4;
    std::vector<std::optional<Server>> servers(kServers);
    std::vector<std::thread> threads;
    for (int i = 0; i < kServers; ++i) {
      threads.emplace_back([&, i] { servers[i] = Listen(); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(std::ranges::count_if(servers, [](const auto& each) { return each->file.ok(); }), 1);
  }
}

TEST_F(SocketFileTest, TheAcceptorListensThere) {
  const auto address = ListenAddress::Parse("unix:" + path(), "--listen");
  std::atomic<int> accepted{0};
  {
    auto acceptor = Acceptor::Listen(*address, {.name = "test", .max_connections = 2});
    ASSERT_TRUE(acceptor.ok()) << acceptor.status();
    EXPECT_EQ((*acceptor)->address().ToString(), "unix:" + path());
    EXPECT_TRUE(absl::IsFailedPrecondition(
        Acceptor::Listen(*address, {.name = "second", .max_connections = 2}).status()));
    (*acceptor)->Start([&](int descriptor, const sockaddr* peer, socklen_t) {
      EXPECT_EQ(peer->sa_family, AF_UNIX);
      close(descriptor);
      accepted = 1;
      accepted.notify_all();
    });
    const engine::Descriptor client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(client.get(), address->address(), address->size()), 0);
    accepted.wait(0);
  }
  EXPECT_FALSE(fs::exists(path()));
}

TEST(PeerTest, AllClientsOnUnixSocketsAreOneHost) {
  EXPECT_EQ(HostOfPeer("ipv4:10.0.0.7:51234"), "ipv4:10.0.0.7");
  EXPECT_EQ(HostOfPeer("ipv6:%5B::1%5D:5"), "ipv6:%5B::1%5D");
  // A client may bind its end to any path.
  for (const char* peer : {"unix:", "unix:/tmp/a", "unix:/tmp/a:1", "unix-abstract:x"}) {
    EXPECT_EQ(HostOfPeer(peer), "unix") << peer;
  }
}

TEST(UnixConsoleTest, AUnixSocketAddsNoHostName) {
  const ConsoleGuard guard(*ListenAddress::Parse("unix:/run/x.sock", "address"), {"named"});
  const auto check = [&](const std::string& host) {
    return guard.CheckHost({.method = "GET", .path = "/", .headers = {{"host", host}}}).ok();
  };
  EXPECT_TRUE(check("localhost"));
  EXPECT_TRUE(check("named:80"));
  for (const char* host : {"unix", "unix:1", "unix:/run/x.sock", "unix:/a:1", ""}) {
    EXPECT_FALSE(check(host)) << host;
  }
}

}  // namespace
}  // namespace whipsnake::server
