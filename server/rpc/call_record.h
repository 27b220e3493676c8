// What the line of the log about a call says beside the call's end (call_log.h). Those who work on
// the call fill it, while it lasts.
#ifndef WHIPSNAKE_SERVER_RPC_CALL_RECORD_H_
#define WHIPSNAKE_SERVER_RPC_CALL_RECORD_H_

#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <string_view>

#include "engine/generate/generator.h"

namespace whipsnake::server {

struct CallRecord {
  // The request's id: its own, otherwise that of the client's metadata, otherwise a generated one.
  std::string request_id;
  std::string trace_parent;  // the client's, as W3C's Trace Context has it; "" if it sent none
  std::string client;        // whom the request names
  std::string model;  // what it is for, as the request names it, or its name once it is found
  std::string id;     // of the job, the data set or the quantization that it is about
  // How a generation has ended; without a reason if the engine failed.
  struct Generation {
    std::optional<engine::FinishReason> reason = std::nullopt;
    engine::Usage usage;
    engine::Timings timings;
  };
  std::optional<Generation> generation;

  // Takes what the request says of the above, each text up to a bound. Handles of saved states are
  // secrets and are not taken.
  void TakeFrom(const google::protobuf::Message& request);
};

// Whether a client may give a request this id: it is UTF-8, neither empty nor too long.
bool IsUsableRequestId(std::string_view id);
std::string GenerateRequestId();

// Whether the text is a traceparent of the version that we know, or of a later one that begins
// alike: "00-<trace id>-<parent id>-<flags>", in lower-case hexadecimal digits, no id all zero.
bool IsTraceParent(std::string_view text);
// The trace id of such a text.
std::string_view TraceIdOf(std::string_view trace_parent);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_CALL_RECORD_H_
