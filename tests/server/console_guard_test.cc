#include "server/console/console_guard.h"

#include <gtest/gtest.h>

#include "server/errors.h"

namespace whipsnake::server {
namespace {

class ConsoleGuardTest : public ::testing::Test {
 protected:
  // A request of the console's own page, in which a test changes one header.
  static HttpRequest Own() {
    return {.method = "POST",
            .path = "/console/api/generate",
            .headers = {{"host", "127.0.0.1:8501"},
                        {"content-type", "application/json"},
                        {"x-whipsnake-console", "1"},
                        {"origin", "http://127.0.0.1:8501"},
                        {"sec-fetch-site", "same-origin"}}};
  }
  static HttpRequest With(const std::string& name, const std::string& value) {
    HttpRequest request = Own();
    request.headers[name] = value;
    return request;
  }
  static HttpRequest Without(const std::string& name) {
    HttpRequest request = Own();
    request.headers.erase(name);
    return request;
  }

  const ConsoleGuard guard_{*ListenAddress::Parse("10.0.0.7:8501", "address"),
                            {"Gpu-Box", "gpu.example"}};
};

TEST_F(ConsoleGuardTest, AdmitsItsOwnPage) {
  EXPECT_TRUE(guard_.CheckHost(Own()).ok());
  EXPECT_TRUE(guard_.CheckRead(Own()).ok());
  EXPECT_TRUE(guard_.CheckAction(Own()).ok());
}

TEST_F(ConsoleGuardTest, TheHostMustBeTheServers) {
  for (const char* host : {"10.0.0.7:8501", "10.0.0.7", "localhost", "LOCALHOST:9000", "127.0.0.1",
                           "127.9.8.7:1", "[::1]", "[::1]:8501", "gpu-box:8501", "GPU.example"}) {
    EXPECT_TRUE(guard_.CheckHost(With("host", host)).ok()) << host;
  }
  for (const char* host :
       {"", "evil.example", "evil.example:8501", "10.0.0.8", "localhost.evil.example",
        "127.0.0.1.evil.example", "127.0.0.1, evil.example", "evil.example, 127.0.0.1",
        "[::2]:8501", "0.0.0.0", "gpu-box.", "x@127.0.0.1", "127.0.0.1:8501:8501", "2130706433"}) {
    const HttpRequest request = With("host", host);
    EXPECT_EQ(ReasonOf(guard_.CheckHost(request)), "HOST_REFUSED") << host;
    EXPECT_EQ(ReasonOf(guard_.CheckRead(request)), "HOST_REFUSED") << host;
    EXPECT_EQ(ReasonOf(guard_.CheckAction(request)), "HOST_REFUSED") << host;
  }
  EXPECT_FALSE(guard_.CheckHost(Without("host")).ok());
}

TEST_F(ConsoleGuardTest, AnActionNeedsATypeAndAHeaderThatFormsCannotSend) {
  for (const char* type :
       {"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
        "text/plain;application/json", "application/jsonx"}) {
    EXPECT_EQ(ReasonOf(guard_.CheckAction(With("content-type", type))), "CONTENT_TYPE_REFUSED");
  }
  EXPECT_FALSE(guard_.CheckAction(Without("content-type")).ok());
  EXPECT_TRUE(guard_.CheckAction(With("content-type", "application/json; charset=utf-8")).ok());
  EXPECT_EQ(ReasonOf(guard_.CheckAction(Without("x-whipsnake-console"))), "HEADER_MISSING");
}

TEST_F(ConsoleGuardTest, AnActionComesFromTheSameOrigin) {
  for (const char* origin :
       {"http://evil.example", "http://127.0.0.1:8500", "http://127.0.0.1", "null",
        "http://127.0.0.1:8501.evil.example", "ftp://127.0.0.1:8501", "http://localhost:8501"}) {
    EXPECT_EQ(ReasonOf(guard_.CheckAction(With("origin", origin))), "ORIGIN_REFUSED") << origin;
  }
  EXPECT_TRUE(guard_.CheckAction(With("origin", "https://127.0.0.1:8501")).ok());
  EXPECT_TRUE(guard_.CheckAction(Without("origin")).ok());  // not a browser
  for (const char* site : {"cross-site", "same-site", "none"}) {
    EXPECT_EQ(ReasonOf(guard_.CheckAction(With("sec-fetch-site", site))), "ORIGIN_REFUSED") << site;
  }
  EXPECT_TRUE(guard_.CheckAction(Without("sec-fetch-site")).ok());
}

TEST_F(ConsoleGuardTest, AReadComesFromTheSameOriginOrTheAddressBar) {
  EXPECT_TRUE(guard_.CheckRead(With("sec-fetch-site", "none")).ok());
  EXPECT_TRUE(guard_.CheckRead(Without("sec-fetch-site")).ok());
  for (const char* site : {"cross-site", "same-site"}) {
    EXPECT_EQ(ReasonOf(guard_.CheckRead(With("sec-fetch-site", site))), "ORIGIN_REFUSED") << site;
  }
}

}  // namespace
}  // namespace whipsnake::server
