#include "server/cli/server_address.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace whipsnake::server {
namespace {

TEST(ServerAddressTest, IsCompleted) {
  struct Case {
    const char* typed;
    const char* target;
    bool loopback;
  };
  for (const Case& each : {Case{"127.0.0.1:8500", "127.0.0.1:8500", true},
                           {"localhost", "localhost:8500", true},
                           {"LOCALHOST:9", "LOCALHOST:9", true},
                           {"model-server", "model-server:8500", false},
                           {"model-server.example.org:443", "model-server.example.org:443", false},
                           {"10.0.0.7", "10.0.0.7:8500", false},
                           {"::1", "[::1]:8500", true},
                           {"[::1]", "[::1]:8500", true},
                           {"[::1]:99", "[::1]:99", true},
                           {"2001:db8::7", "[2001:db8::7]:8500", false},
                           {"unix:/run/whipsnake.sock", "unix:/run/whipsnake.sock", true},
                           {"dns:///models:8500", "dns:///models:8500", false}}) {
    const auto address = ParseServerAddress(each.typed);
    ASSERT_TRUE(address.ok()) << each.typed << ": " << address.status();
    EXPECT_EQ(address->target, each.target);
    EXPECT_EQ(address->loopback, each.loopback) << each.typed;
  }
}

TEST(ServerAddressTest, OrRefusedByItsName) {
  for (const char* typed : {"", ":8500", "host:", "host:0", "host:65536", "host:-1", "host:http",
                            "[::1", "[::1]8500", "[]:8500", "http://host:8500", "a host"}) {
    const auto address = ParseServerAddress(typed);
    ASSERT_FALSE(address.ok()) << typed;
    EXPECT_THAT(std::string(address.status().message()), testing::HasSubstr("seen, expected HOST"));
  }
}

}  // namespace
}  // namespace whipsnake::server
