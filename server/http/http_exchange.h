// One request on a connection of libmicrohttpd, and its response.
#ifndef WHIPSNAKE_SERVER_HTTP_HTTP_EXCHANGE_H_
#define WHIPSNAKE_SERVER_HTTP_HTTP_EXCHANGE_H_

#include <microhttpd.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/mutex.h"
#include "server/http/hangups.h"
#include "server/http/http_message.h"

namespace whipsnake::server {

// While a response, or the next part of its body, is not ready, the connection is suspended: the
// library forgets it until it is resumed, and no thread waits.
//
// The functions that libmicrohttpd's callbacks call run on the server's thread. The others are
// thread-safe.
class HttpExchange : public std::enable_shared_from_this<HttpExchange> {
 public:
  // `route` and `hangups` must outlive the exchange's last callback.
  HttpExchange(MHD_Connection* connection, const HttpRoute& route, HttpRequest request,
               Hangups& hangups);

  // From libmicrohttpd's callbacks.
  void AddToBody(std::string_view bytes) { request_.body.append(bytes); }
  // The request is complete, or the connection was resumed: calls the handler, sends its response,
  // or suspends.
  MHD_Result Proceed();
  // Fills `buffer` with the next bytes of the body, as MHD_ContentReaderCallback.
  ssize_t Read(char* buffer, size_t size);
  // The connection is about to be closed or used for another request.
  void Complete();

  // The client has gone, or the server stops: gives the work up and resumes the connection, which
  // is not suspended again.
  void Abandon();

 private:
  void CallHandler();
  void Answer(HttpResponse response);
  void Wake();
  void SuspendLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ResumeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Copies what is left of part_ into `buffer`.
  ssize_t CopyPart(char* buffer, size_t size);
  MHD_Result Send(MHD_Connection* connection, const HttpResponse& response);

  const HttpRoute& route_;
  Hangups& hangups_;
  const int socket_;
  HttpRequest request_;
  bool called_ = false;  // the handler was
  std::shared_ptr<HttpStream> sent_;
  HttpStream::Part part_;  // of sent_
  size_t part_sent_ = 0;   // bytes

  engine::Mutex mutex_;
  MHD_Connection* connection_ ABSL_GUARDED_BY(mutex_);  // null once complete
  std::optional<HttpResponse> response_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<HttpStream> stream_ ABSL_GUARDED_BY(mutex_);  // of the response
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  bool suspended_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<int64_t> hangup_ ABSL_GUARDED_BY(mutex_);
};

// Sends a response that has no stream.
MHD_Result SendResponse(MHD_Connection* connection, const HttpResponse& answer);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_HTTP_HTTP_EXCHANGE_H_
