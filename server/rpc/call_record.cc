#include "server/rpc/call_record.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "engine/base/random.h"
#include "engine/base/utf8.h"
#include "engine/generate/generation_parameters.h"

namespace whipsnake::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int kMaxTextBytes = 512;
// Of a traceparent: the places of its parts, and the length of version 00. Later versions may be
// longer, up to a bound of ours.
constexpr size_t kTraceIdAt = 3, kTraceIdDigits = 32, kParentIdAt = 36, kParentIdDigits = 16;
constexpr size_t kTraceParentLength = 55, kMaxTraceParentLength = 256;

// The text of a field; "" if the message has no such field. Valid as long as both arguments.
std::string_view TextOf(const Message& message, const char* name, std::string& scratch) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->type() != FieldDescriptor::TYPE_STRING || field->is_repeated()) {
    return {};
  }
  return message.GetReflection()->GetStringReference(message, field, &scratch);
}

bool IsLowerHexadecimal(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view digits) { return digits.find_first_not_of('0') == digits.npos; }

void TakeTexts(const Message& message, CallRecord& record) {
  std::string scratch;
  const auto take = [&](const char* name, std::string& to) {
    const std::string_view text = TextOf(message, name, scratch);
    if (!text.empty()) to = engine::BoundedUtf8(text, kMaxTextBytes);
  };
  take("client", record.client);
  take("model", record.model);
  take("name", record.model);  // in the requests of ModelService
  take("id", record.id);
  const std::string_view given = TextOf(message, "request_id", scratch);
  if (IsUsableRequestId(given)) record.request_id = std::string(given);
}

}  // namespace

void CallRecord::TakeFrom(const Message& request) {
  TakeTexts(request, *this);
  // A generation's parameters and a job's settings are messages in the request.
  for (const char* name : {"parameters", "spec"}) {
    const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(name);
    if (field == nullptr || field->type() != FieldDescriptor::TYPE_MESSAGE) continue;
    TakeTexts(request.GetReflection()->GetMessage(request, field), *this);
  }
}

bool IsUsableRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 4 * engine::kMaxRequestIdCharacters && engine::IsUtf8(id) &&
         engine::CountCharacters(id) <= engine::kMaxRequestIdCharacters;
}

std::string GenerateRequestId() {
  char text[17];
  std::snprintf(text, sizeof(text), "%016" PRIx64, engine::RandomNumber());
  return text;
}

bool IsTraceParent(std::string_view text) {
  if (text.size() < kTraceParentLength || text.size() > kMaxTraceParentLength) return false;
  const std::string_view version = text.substr(0, 2);
  const bool is_longer = text.size() > kTraceParentLength;
  if (is_longer && (version == "00" || text[kTraceParentLength] != '-')) return false;
  for (const size_t dash : {kTraceIdAt - 1, kParentIdAt - 1, kTraceParentLength - 3}) {
    if (text[dash] != '-') return false;
  }
  const std::string_view parent_id = text.substr(kParentIdAt, kParentIdDigits);
  const std::string_view flags = text.substr(kTraceParentLength - 2, 2);
  return version != "ff" && IsLowerHexadecimal(version) && IsLowerHexadecimal(TraceIdOf(text)) &&
         IsLowerHexadecimal(parent_id) && IsLowerHexadecimal(flags) && !IsZero(TraceIdOf(text)) &&
         !IsZero(parent_id) &&
         // What a later version adds is returned to the client as metadata.
         std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

std::string_view TraceIdOf(std::string_view trace_parent) {
  return trace_parent.substr(kTraceIdAt, kTraceIdDigits);
}

}  // namespace whipsnake::server
