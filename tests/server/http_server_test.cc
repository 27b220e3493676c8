#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

#include "tests/server/http_client.h"

namespace whipsnake::server {
namespace {

using testing::StartsWith;

TEST(HttpServerTest, AnExceptionOfAHandlerIsAnAnswer) {
  HttpRoutes routes;
  routes["/throws"] = []() -> HttpResponse { throw std::bad_alloc(); };
  routes["/good"] = [] { return HttpResponse{.body = "good\n"}; };
  const auto server = HttpServer::Start(*ListenAddress::Parse("127.0.0.1:0", "address"),
                                        std::move(routes), /*max_connections=*/4);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->acceptor().address().ToString();
  EXPECT_THAT(Http(address, "GET", "/throws"), StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(Http(address, "GET", "/good"), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace whipsnake::server
