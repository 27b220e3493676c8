#include "server/rpc/messages.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/util/time_util.h>
#include <google/protobuf/wire_format_lite.h>

#include <map>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/rpc/call_context.h"

namespace whipsnake::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Returns the path of the first string in `bytes`, a message of this type, that is not UTF-8; "" if
// there is none or the bytes are truncated. Our request types are not recursive, so the recursion
// depth is bounded.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the types of the requests.
std::string FindInvalidText(const Descriptor& type, std::string_view bytes) {
  CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  std::map<int, int> seen;  // how often each repeated field has appeared
  while (const uint32_t tag = input.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool delimited =
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    const bool looked_at = field != nullptr && delimited &&
                           (field->type() == FieldDescriptor::TYPE_STRING ||
                            field->type() == FieldDescriptor::TYPE_MESSAGE);
    if (!looked_at) {
      if (!WireFormatLite::SkipField(&input, tag)) return "";
      continue;
    }
    uint32_t length = 0;
    std::string value;
    if (!input.ReadVarint32(&length) || length > bytes.size() ||
        !input.ReadString(&value, static_cast<int>(length))) {
      return "";
    }
    std::string path = field->name();
    if (field->is_repeated()) path += absl::StrCat("[", seen[field->number()]++, "]");
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
      const std::string inner = FindInvalidText(*field->message_type(), value);
      if (!inner.empty()) return path + "." + inner;
    } else if (!engine::IsUtf8(value)) {
      return path;
    }
  }
  return "";
}

}  // namespace

absl::Status ReceiveRequest(const grpc::CallbackServerContext* context,
                            const grpc::ByteBuffer& bytes, google::protobuf::Message* request) {
  RETURN_IF_ERROR(CheckAdmission(context));
  RETURN_IF_ERROR(ParseMessage(bytes, request));
  if (CallRecord* record = RecordOf(context)) record->TakeFrom(*request);
  return absl::OkStatus();
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::Slice slice;
  if (!bytes.Valid() || !bytes.DumpToSingleSlice(&slice).ok()) {
    return absl::InvalidArgumentError("the request has no message");
  }
  const std::string_view wire(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (message->ParseFromArray(wire.data(), static_cast<int>(wire.size()))) return absl::OkStatus();

  const Descriptor& type = *message->GetDescriptor();
  if (const std::string field = FindInvalidText(type, wire); !field.empty()) {
    return WithReason(engine::InvalidField(field, "bytes that are not UTF-8", "UTF-8 text"),
                      "INVALID_UTF8");
  }
  return WithReason(absl::InvalidArgumentError("the request is not a " + type.full_name()),
                    "MALFORMED_MESSAGE");
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::Slice slice(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

google::protobuf::Timestamp ToTimestamp(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  return google::protobuf::util::TimeUtil::MillisecondsToTimestamp(since.count());
}

std::chrono::steady_clock::time_point MonotonicDeadline(
    std::chrono::system_clock::time_point deadline) {
  using std::chrono::steady_clock;
  using std::chrono::system_clock;
  // gRPC represents "no deadline" by the largest time, and a distant one would overflow the sum
  // below.
  constexpr std::chrono::hours kForever{24 * 365};
  const auto now = system_clock::now();
  if (deadline > now + kForever) return steady_clock::time_point::max();
  if (deadline < now - kForever) return steady_clock::time_point();
  return steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(deadline - now);
}

}  // namespace whipsnake::server
