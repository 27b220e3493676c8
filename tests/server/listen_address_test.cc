#include "server/listen_address.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

TEST(ListenAddressTest, ParsesAndPrints) {
  for (const char* text : {"127.0.0.1:8500", "0.0.0.0:0", "[::1]:65535", "[::]:1"}) {
    const auto address = ListenAddress::Parse(text, "--listen");
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(ListenAddress::Parse("localhost:7", "--listen")->ToString(), "127.0.0.1:7");
}

TEST(ListenAddressTest, KnowsLoopback) {
  for (const char* text : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"}) {
    EXPECT_TRUE(ListenAddress::Parse(text, "--listen")->IsLoopback()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "10.0.0.127:1", "[::]:1", "[fe80::1]:1", "128.0.0.1:1"}) {
    EXPECT_FALSE(ListenAddress::Parse(text, "--listen")->IsLoopback()) << text;
  }
}

TEST(ListenAddressTest, AUnixSocketIsLocalAndHasAPath) {
  for (const char* text : {"unix:/run/x.sock", "unix:x.sock", "unix:0", "unix:/a:1"}) {
    const auto address = ListenAddress::Parse(text, "--listen");
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_TRUE(address->is_unix());
    EXPECT_TRUE(address->IsLoopback());
    EXPECT_EQ(address->ToString(), text);
    EXPECT_EQ("unix:" + address->path(), text);
  }
  EXPECT_EQ(ListenAddress::Parse("unix:///run/x.sock", "--listen")->path(), "/run/x.sock");
  EXPECT_TRUE(ListenAddress::Parse("unix:" + std::string(107, 'x'), "--listen").ok());
  for (const std::string& path : {std::string(), std::string(108, 'x'), std::string(1, '\0')}) {
    EXPECT_EQ(engine::FieldOf(ListenAddress::Parse("unix:" + path, "--listen").status()),
              "--listen");
  }
}

TEST(ListenAddressTest, RefusesTheRestByName) {
  for (const char* text :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":8500", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:8500x", "example.org:80", "::1:80", "[127.0.0.1]:80", "127.0.0.1:+80"}) {
    const auto address = ListenAddress::Parse(text, "--listen");
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(engine::FieldOf(address.status()), "--listen");
  }
}

}  // namespace
}  // namespace whipsnake::server
