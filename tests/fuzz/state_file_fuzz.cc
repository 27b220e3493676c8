// Parses any bytes as a file of a saved state. The file must be refused, or its parts must agree
// with each other. The bytes are also tried as the inside of a file, its header and what follows,
// with correct checksums added so that the fuzzer gets past them.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/digest.h"
#include "engine/generate/state_file.h"

namespace {

using whipsnake::engine::Digest;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void Append(std::string& bytes, const Digest::Value& checksum) {
  bytes.append(reinterpret_cast<const char*>(checksum.data()), checksum.size());
}

// Makes a file from `inside`: the header, which ends at the first newline, and the rest.
std::string Whole(std::string_view inside) {
  const size_t end = std::min(inside.find('\n'), inside.size());
  const std::string_view header = inside.substr(0, end);
  const uint64_t length = header.size();
  std::string bytes = "WSNKST01";
  bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
  Append(bytes, Digest::Of(header));
  bytes.append(header);
  bytes.append(inside.substr(std::min(end + 1, inside.size())));
  Append(bytes, Digest::Of(bytes));
  return bytes;
}

void Check(std::string_view bytes) {
  const auto file = whipsnake::engine::ParseStateFile(std::as_bytes(std::span(bytes)));
  if (!file.ok()) {
    Require(file.status().code() == absl::StatusCode::kInvalidArgument ||
            file.status().code() == absl::StatusCode::kFailedPrecondition);
    Require(!file.status().message().empty());
    return;
  }
  const auto& header = file->header;
  Require(header.tokens == std::ssize(file->tokens) && header.tokens > 0);
  Require(header.state_bytes == std::ssize(file->state));
  Require(header.position == header.tokens || header.position == header.tokens - 1);
  Require(header.created.time_since_epoch().count() >= 0);
  Require(header.expires.time_since_epoch().count() >= 0);
  for (const int32_t token : file->tokens) Require(token >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  Check(Whole(bytes));
  return 0;
}
