#include "server/acceptor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <new>
#include <utility>
#include <vector>

#include "server/open_files.h"

namespace whipsnake::server {
namespace {

// Collects the connections that an acceptor hands over.
class Connections {
 public:
  ~Connections() { CloseAll(); }

  Acceptor::Handler Handler() {
    return [this](int descriptor, const sockaddr*, socklen_t) {
      std::lock_guard lock(mutex_);
      descriptors_.push_back(descriptor);
      ++accepted_;
      changed_.notify_all();
    };
  }
  void WaitForAccepted(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return accepted_ >= count; });
  }
  void CloseAll() {
    std::lock_guard lock(mutex_);
    for (const int descriptor : descriptors_) close(descriptor);
    descriptors_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> descriptors_;
  int accepted_ = 0;
};

// A client. Its socket is created before it connects, because a test may have no descriptor left by
// then.
class Client {
 public:
  Client() : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {}
  ~Client() { close(descriptor_); }
  Client(const Client&) = delete;

  void Connect(const ListenAddress& address) {
    EXPECT_EQ(connect(descriptor_, address.address(), address.size()), 0);
  }
  // Waits until the server closes the connection.
  bool IsClosed() {
    char byte;
    return recv(descriptor_, &byte, 1, 0) <= 0;
  }

 private:
  const int descriptor_;
};

std::unique_ptr<Acceptor> Listen(int64_t max_connections, Acceptor::AtLimit at_limit) {
  return *Acceptor::Listen(
      *ListenAddress::Parse("127.0.0.1:0", "address"),
      {.name = "test", .max_connections = max_connections, .at_limit = at_limit});
}

TEST(AcceptorTest, RefusesWhatIsTooMuchAndCountsWhatIsOpen) {
  Connections connections;
  const auto acceptor = Listen(2, Acceptor::AtLimit::kRefuse);
  acceptor->Start(connections.Handler());
  Client a, b, c, d;
  a.Connect(acceptor->address());
  b.Connect(acceptor->address());
  connections.WaitForAccepted(2);
  c.Connect(acceptor->address());
  EXPECT_TRUE(c.IsClosed());
  EXPECT_EQ(acceptor->connections(), 2);
  EXPECT_EQ(acceptor->turned_away(), 1);
  // There is room again once their owner closes them.
  connections.CloseAll();
  EXPECT_EQ(acceptor->connections(), 0);
  d.Connect(acceptor->address());
  connections.WaitForAccepted(3);
  EXPECT_EQ(acceptor->connections(), 1);
}

TEST(AcceptorTest, TheNewestMayTakeTheOldestsPlace) {
  Connections connections;
  const auto acceptor = Listen(2, Acceptor::AtLimit::kCloseOldest);
  acceptor->Start(connections.Handler());
  Client a, b, c;
  a.Connect(acceptor->address());
  connections.WaitForAccepted(1);
  b.Connect(acceptor->address());
  c.Connect(acceptor->address());
  connections.WaitForAccepted(3);
  EXPECT_TRUE(a.IsClosed());
  EXPECT_EQ(acceptor->connections(), 2);
}

TEST(AcceptorTest, AnExceptionOfItsHandlerCostsOneConnection) {
  Connections connections;
  const auto acceptor = Listen(100, Acceptor::AtLimit::kRefuse);
  bool first = true;  // used by the acceptor's thread only
  acceptor->Start(
      [&, good = connections.Handler()](int descriptor, const sockaddr* peer, socklen_t size) {
        if (!std::exchange(first, false)) return good(descriptor, peer, size);
        close(descriptor);
        throw std::bad_alloc();
      });
  Client a, b;
  a.Connect(acceptor->address());
  EXPECT_TRUE(a.IsClosed());
  b.Connect(acceptor->address());
  connections.WaitForAccepted(1);
  EXPECT_TRUE(acceptor->is_listening());
}

TEST(AcceptorTest, WithoutDescriptorsItWaitsAndThenGoesOn) {
  Connections connections;
  const auto acceptor = Listen(100, Acceptor::AtLimit::kRefuse);
  acceptor->Start(connections.Handler());
  Client first, second;
  first.Connect(acceptor->address());
  connections.WaitForAccepted(1);

  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};  // fewer than are open; poll needs two
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  second.Connect(acceptor->address());  // the kernel completes it; nobody can accept it
  EXPECT_TRUE(acceptor->is_listening());
  EXPECT_EQ(acceptor->connections(), 1);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  connections.WaitForAccepted(2);
  EXPECT_TRUE(acceptor->is_listening());
}

TEST(AcceptorTest, NoticesThatItDoesNotListenAnyMore) {
  Connections connections;
  const auto acceptor = Listen(100, Acceptor::AtLimit::kRefuse);
  acceptor->Start(connections.Handler());
  // Shuts the socket down: after any fault of a listening socket, accept reports that it does not
  // listen.
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    sockaddr_in name{};
    socklen_t size = sizeof(name);
    if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&name), &size) == 0 &&
        name.sin_family == AF_INET && ntohs(name.sin_port) == acceptor->address().port()) {
      shutdown(descriptor, SHUT_RDWR);
    }
  }
  while (acceptor->is_listening()) std::this_thread::yield();
}

TEST(AcceptorTest, ATakenPortIsAnError) {
  const auto acceptor = Listen(1, Acceptor::AtLimit::kRefuse);
  const absl::Status status =
      Acceptor::Listen(acceptor->address(), {.name = "test", .max_connections = 1}).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(status.message().find(acceptor->address().ToString()), std::string::npos);
}

TEST(OpenFilesTest, ConnectionsStayBelowTheLimit) {
  for (const int64_t limit : {128, 256, 1024, 4096, 65536}) {
    const ConnectionLimits limits = DivideOpenFiles(limit, 1024);
    EXPECT_GT(limits.grpc, 0);
    EXPECT_GT(limits.http, 0);
    EXPECT_LE(limits.grpc, 1024);
    EXPECT_LT(limits.grpc + limits.http, limit - 64);
  }
  EXPECT_EQ(DivideOpenFiles(65536, 1024).grpc, 1024);
  EXPECT_GT(DivideOpenFiles(16, 1024).grpc, 0);
}

TEST(OpenFilesTest, TheSoftLimitIsRaisedAndNeverLowered) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  RaiseOpenFileLimit();
  EXPECT_GE(OpenFileLimit(), std::min<int64_t>(static_cast<int64_t>(before.rlim_max), 65536));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  RaiseOpenFileLimit();
  EXPECT_GE(OpenFileLimit(), static_cast<int64_t>(before.rlim_cur));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace whipsnake::server
