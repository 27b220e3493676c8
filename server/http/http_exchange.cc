#include "server/http/http_exchange.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/exceptions.h"

namespace whipsnake::server {
namespace {

constexpr size_t kStreamBlockBytes = 4096;

void AddHeaders(MHD_Response* response, const HttpResponse& answer) {
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.content_type.c_str());
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : answer.headers) {
    MHD_add_response_header(response, name.c_str(), value.c_str());
  }
}

MHD_Result Queue(MHD_Connection* connection, MHD_Response* response, const HttpResponse& answer) {
  if (response == nullptr) return MHD_NO;
  AddHeaders(response, answer);
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned>(answer.code), response);
  MHD_destroy_response(response);
  return result;
}

int SocketOf(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info == nullptr ? -1 : info->connect_fd;
}

using ExchangePtr = std::shared_ptr<HttpExchange>;

ssize_t ReadExchange(void* exchange, uint64_t, char* buffer, size_t size) {
  return (*static_cast<ExchangePtr*>(exchange))->Read(buffer, size);
}

void FreeExchange(void* exchange) { delete static_cast<ExchangePtr*>(exchange); }

HttpResponse Failure() {
  return {MHD_HTTP_INTERNAL_SERVER_ERROR, "the response could not be made\n"};
}

}  // namespace

HttpRoute GetRoute(Scope scope, std::function<HttpResponse(const HttpRequest&)> respond) {
  return {.handler = [respond = std::move(respond)](
                         const HttpRequest& request,
                         const HttpAnswer& answer) { answer(respond(request)); },
          .scope = scope};
}

MHD_Result SendResponse(MHD_Connection* connection, const HttpResponse& answer) {
  MHD_Response* response = MHD_create_response_from_buffer(
      answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  return Queue(connection, response, answer);
}

HttpExchange::HttpExchange(MHD_Connection* connection, const HttpRoute& route, HttpRequest request,
                           Hangups& hangups)
    : route_(route),
      hangups_(hangups),
      socket_(SocketOf(connection)),
      request_(std::move(request)),
      connection_(connection) {}

MHD_Result HttpExchange::Proceed() {
  if (!std::exchange(called_, true)) CallHandler();
  std::optional<HttpResponse> response;
  MHD_Connection* connection = nullptr;
  {
    engine::MutexLock lock(mutex_);
    connection = connection_;
    if (!response_ && !abandoned_) {
      SuspendLocked();
      return MHD_YES;
    }
    if (!response_) return MHD_NO;
    response = std::exchange(response_, std::nullopt);
  }
  return Send(connection, *response);
}

void HttpExchange::CallHandler() {
  // An exception must not pass through the library, which is written in C.
  const absl::Status status = engine::CatchExceptions([&] {
    route_.handler(request_, [self = shared_from_this()](HttpResponse response) {
      self->Answer(std::move(response));
    });
  });
  if (!status.ok()) Answer(Failure());
}

void HttpExchange::Answer(HttpResponse response) {
  std::shared_ptr<HttpStream> unwanted;
  {
    engine::MutexLock lock(mutex_);
    if (std::exchange(answered_, true)) return;
    if (abandoned_) {
      unwanted = response.stream;
    } else {
      stream_ = response.stream;
    }
    response_ = std::move(response);
    ResumeLocked();
  }
  if (unwanted != nullptr) unwanted->Cancel();
}

MHD_Result HttpExchange::Send(MHD_Connection* connection, const HttpResponse& response) {
  if (response.stream == nullptr) return SendResponse(connection, response);
  sent_ = response.stream;
  const absl::Status begun = engine::CatchExceptions([&] {
    sent_->Begin([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->Wake();
    });
  });
  if (!begun.ok()) return SendResponse(connection, Failure());
  return Queue(
      connection,
      MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kStreamBlockBytes, &ReadExchange,
                                        new ExchangePtr(shared_from_this()), &FreeExchange),
      response);
}

ssize_t HttpExchange::Read(char* buffer, size_t size) {
  while (true) {
    if (part_sent_ < part_.bytes.size()) return CopyPart(buffer, size);
    if (part_.end) return MHD_CONTENT_READER_END_OF_STREAM;
    {
      engine::MutexLock lock(mutex_);
      if (abandoned_) return MHD_CONTENT_READER_END_WITH_ERROR;
      woken_ = false;
    }
    part_sent_ = 0;
    const absl::Status taken = engine::CatchExceptions([&] { part_ = sent_->Take(); });
    if (!taken.ok()) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!part_.bytes.empty() || part_.end) continue;
    engine::MutexLock lock(mutex_);
    if (woken_ || abandoned_) continue;
    SuspendLocked();
    return 0;
  }
}

ssize_t HttpExchange::CopyPart(char* buffer, size_t size) {
  const size_t count = std::min(size, part_.bytes.size() - part_sent_);
  std::memcpy(buffer, part_.bytes.data() + part_sent_, count);
  part_sent_ += count;
  return static_cast<ssize_t>(count);
}

void HttpExchange::Complete() {
  std::optional<int64_t> hangup;
  std::shared_ptr<HttpStream> stream;
  {
    engine::MutexLock lock(mutex_);
    connection_ = nullptr;
    suspended_ = false;
    abandoned_ = true;
    hangup = std::exchange(hangup_, std::nullopt);
    stream = std::exchange(stream_, nullptr);
  }
  if (hangup) hangups_.Remove(*hangup, socket_);
  if (stream != nullptr) stream->Cancel();
}

void HttpExchange::Abandon() {
  std::shared_ptr<HttpStream> stream;
  {
    engine::MutexLock lock(mutex_);
    abandoned_ = true;
    stream = stream_;
    ResumeLocked();
  }
  if (stream != nullptr) stream->Cancel();
}

void HttpExchange::Wake() {
  engine::MutexLock lock(mutex_);
  woken_ = true;
  ResumeLocked();
}

void HttpExchange::SuspendLocked() {
  MHD_suspend_connection(connection_);
  suspended_ = true;
  if (hangup_ || socket_ < 0) return;
  hangup_ = hangups_.Add(socket_, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->Abandon();
  });
}

void HttpExchange::ResumeLocked() {
  if (std::exchange(suspended_, false)) MHD_resume_connection(connection_);
}

}  // namespace whipsnake::server
