#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <new>

#include "tests/server/http_client.h"

namespace whipsnake::server {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A stream that a test feeds.
class FedStream final : public HttpStream {
 public:
  void Begin(std::function<void()> wake) override {
    std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
    changed_.notify_all();
  }
  Part Take() override {
    std::lock_guard lock(mutex_);
    return std::exchange(next_, {});
  }
  void Cancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }

  // Waits for Begin.
  void Feed(std::string bytes, bool end = false) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return wake_ != nullptr; });
    next_.bytes += bytes;
    next_.end = end;
    const std::function<void()> wake = wake_;
    lock.unlock();
    wake();
  }
  void WaitUntilCancelled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return cancelled_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> wake_;
  Part next_;
  bool cancelled_ = false;
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    routes_["/good"] =
        GetRoute(Scope::kOpen, [](const HttpRequest&) { return HttpResponse{.body = "good\n"}; });
    routes_["/later"] = {.handler = [this](const HttpRequest&, const HttpAnswer& answer) {
      later_.set_value(answer);
    }};
    routes_["/stream"] = {.handler = [this](const HttpRequest&, const HttpAnswer& answer) {
      answer({.stream = stream_});
    }};
    routes_["/echo"] = {
        .handler =
            [](const HttpRequest& request, const HttpAnswer& answer) {
              answer({.body = request.body + " " + std::string(request.Argument("a b"))});
            },
        .max_body = 10'000};
  }

  void Start() {
    auto server = HttpServer::Start(*ListenAddress::Parse("127.0.0.1:0", "address"), routes_,
                                    /*max_connections=*/4);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    address_ = server_->acceptor().address().ToString();
  }
  std::string Post(const std::string& path, const std::string& headers, const std::string& body) {
    return Exchange(address_, HttpHead("POST", path, "Host: test\r\n" + headers) + body);
  }

  HttpRoutes routes_;
  std::promise<HttpAnswer> later_;
  std::shared_ptr<FedStream> stream_ = std::make_shared<FedStream>();
  std::unique_ptr<HttpServer> server_;
  std::string address_;
};

TEST_F(HttpServerTest, AnExceptionOfAHandlerIsAnAnswer) {
  routes_["/throws"] =
      GetRoute(Scope::kOpen, [](const HttpRequest&) -> HttpResponse { throw std::bad_alloc(); });
  Start();
  EXPECT_THAT(Http(address_, "GET", "/throws"), StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(Http(address_, "GET", "/good"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, AnAnswerThatComesLaterHoldsUpNobody) {
  Start();
  HttpConnection waiting(address_);
  ASSERT_TRUE(waiting.Send(HttpHead("GET", "/later")));
  const HttpAnswer answer = later_.get_future().get();
  EXPECT_THAT(Http(address_, "GET", "/good"), EndsWith("good\n"));
  answer({.code = 404, .body = "at last\n"});
  answer({.body = "a second answer is ignored\n"});
  EXPECT_THAT(waiting.ReadAll(), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(waiting.ReadAll(), EndsWith("at last\n"));
}

TEST_F(HttpServerTest, AStreamIsSentAsItIsMade) {
  Start();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(HttpHead("GET", "/stream")));
  stream_->Feed("first");
  EXPECT_THAT(client.ReadUntil("first"), HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_THAT(client.ReadUntil("first"), Not(HasSubstr("second")));
  EXPECT_THAT(Http(address_, "GET", "/good"), EndsWith("good\n"));
  const std::string large(100'000, 'x');
  stream_->Feed(large);
  stream_->Feed("second", /*end=*/true);
  const std::string& all = client.ReadAll();
  EXPECT_EQ(std::ranges::count(all, 'x'), std::ssize(large) + 1);  // one is in "text/plain"
  EXPECT_THAT(all, EndsWith("second\r\n0\r\n\r\n"));
}

TEST_F(HttpServerTest, AStreamWhoseClientLeavesIsCancelledThoughNothingIsSent) {
  Start();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(HttpHead("GET", "/stream")));
  stream_->Feed("first");
  client.ReadUntil("first");
  client.Close();
  stream_->WaitUntilCancelled();
  stream_->Feed("wasted");  // waking it is harmless
}

TEST_F(HttpServerTest, AnAnswerMayComeAfterItsClientHasLeft) {
  Start();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(HttpHead("GET", "/later")));
  const HttpAnswer answer = later_.get_future().get();
  client.Close();
  answer({.stream = stream_});
  stream_->WaitUntilCancelled();
  EXPECT_THAT(Http(address_, "GET", "/good"), EndsWith("good\n"));
}

TEST_F(HttpServerTest, StopsWhileRequestsWait) {
  Start();
  HttpConnection later(address_), streaming(address_);
  ASSERT_TRUE(later.Send(HttpHead("GET", "/later")));
  const HttpAnswer answer = later_.get_future().get();
  ASSERT_TRUE(streaming.Send(HttpHead("GET", "/stream")));
  stream_->Feed("first");
  streaming.ReadUntil("first");
  server_.reset();
  stream_->WaitUntilCancelled();
  EXPECT_THAT(streaming.ReadAll(), Not(EndsWith("0\r\n\r\n")));  // the client sees that it was cut
  EXPECT_EQ(later.ReadAll(), "");
  answer({.body = "too late\n"});
  stream_->Feed("too late");
}

TEST_F(HttpServerTest, ABodyIsReadIfItSaysItsLengthAndIsNotTooLong) {
  Start();
  const std::string body(10'000, 'b');
  const auto with_length = [](size_t length) {
    return "Content-Length: " + std::to_string(length) + "\r\n";
  };
  EXPECT_THAT(Post("/echo?a%20b=c%26d", with_length(10'000), body),
              EndsWith("\r\n" + body + " c&d"));
  EXPECT_THAT(Post("/echo", with_length(10'001), ""), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Post("/echo", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
              StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Post("/good", with_length(0), ""), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Http(address_, "GET", "/echo"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Http(address_, "GET", "/echo"), HasSubstr("Allow: POST\r\n"));
}

}  // namespace
}  // namespace whipsnake::server
