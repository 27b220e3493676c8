#include "engine/generate/state_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "engine/base/atomic_file.h"
#include "engine/base/digest.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie");

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr std::string_view kFormat = "WSNKST";
constexpr std::string_view kVersion = "01";
constexpr size_t kLengthBegin = 8, kChecksumBegin = 16, kPreamble = 32;
constexpr size_t kMaxHeader = 64 << 10;
constexpr int64_t kMaxCount = int64_t{1} << 40;
constexpr int64_t kMaxFile = int64_t{1} << 42;
constexpr int kOwnersAlone = 0600;

// The last millisecond that the clock can represent, as it counts nanoseconds.
constexpr int64_t kLastMillisecond =
    std::chrono::floor<milliseconds>(system_clock::duration::max()).count();

int64_t Milliseconds(system_clock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
}

std::string HeaderText(const StateHeader& header) {
  return nlohmann::json{{"model", header.model},
                        {"digest", header.digest},
                        {"created_ms", Milliseconds(header.created)},
                        {"expires_ms", Milliseconds(header.expires)},
                        {"tokens", header.tokens},
                        {"position", header.position},
                        {"state_bytes", header.state_bytes}}
      .dump();
}

absl::StatusOr<StateHeader> ParseHeaderText(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text));
  JsonObjectReader reader(json);
  const auto time = [&](const char* key) {
    return system_clock::time_point(milliseconds(reader.Integer(key, 0, 0, kLastMillisecond)));
  };
  StateHeader header{.model = reader.Text("model", ""),
                     .digest = reader.Text("digest", ""),
                     .created = time("created_ms"),
                     .expires = time("expires_ms"),
                     .tokens = reader.Integer("tokens", 0, 1, kMaxCount),
                     .position = reader.Integer("position", 0, 0, kMaxCount),
                     .state_bytes = reader.Integer("state_bytes", 0, 0, kMaxCount)};
  RETURN_IF_ERROR(reader.status());
  if (header.tokens == 0) return absl::InvalidArgumentError("tokens: none seen, expected a number");
  if (header.position != header.tokens && header.position != header.tokens - 1) {
    return absl::InvalidArgumentError(absl::StrCat("position: ", header.position,
                                                   " seen, expected ", header.tokens,
                                                   ", the tokens, or one less"));
  }
  return header;
}

// Whether `checksum` begins with the checksum of `bytes`.
bool IsChecksumOf(std::span<const std::byte> checksum, std::span<const std::byte> bytes) {
  const Digest::Value expected = Digest::Of(bytes);
  return std::memcmp(checksum.data(), expected.data(), expected.size()) == 0;
}

struct Layout {
  StateHeader header;
  size_t tokens_begin = 0;
  size_t state_begin = 0;
  size_t checksum_begin = 0;
};

// Parses the header of a file of `file_bytes` bytes and locates its parts. `bytes` is the whole
// file, or a beginning that is long enough for the longest header. Returns FAILED_PRECONDITION for
// another version and INVALID_ARGUMENT for any other fault.
absl::StatusOr<Layout> LayOut(std::span<const std::byte> bytes, uint64_t file_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.size() < kPreamble || !text.starts_with(kFormat)) {
    return absl::InvalidArgumentError("not a state file");
  }
  if (text.substr(kFormat.size(), kVersion.size()) != kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("version ", Quoted(text.substr(kFormat.size(), kVersion.size())),
                     " seen, expected ", ToAbsl(kVersion)));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data() + kLengthBegin, sizeof(header_bytes));
  if (header_bytes > kMaxHeader || header_bytes > bytes.size() - kPreamble) {
    return absl::InvalidArgumentError(
        absl::StrCat("a header of ", header_bytes, " bytes in a file of ", file_bytes));
  }
  if (!IsChecksumOf(bytes.subspan(kChecksumBegin), bytes.subspan(kPreamble, header_bytes))) {
    return absl::InvalidArgumentError("the header's checksum is not that of its contents");
  }
  Layout layout;
  ASSIGN_OR_RETURN(layout.header, ParseHeaderText(text.substr(kPreamble, header_bytes)));
  layout.tokens_begin = kPreamble + header_bytes;
  layout.state_begin = layout.tokens_begin + layout.header.tokens * sizeof(int32_t);
  layout.checksum_begin = layout.state_begin + layout.header.state_bytes;
  const size_t expected = layout.checksum_begin + sizeof(Digest::Value);
  if (file_bytes != expected) {
    return absl::InvalidArgumentError(absl::StrCat(file_bytes, " bytes seen, expected ", expected));
  }
  return layout;
}

absl::Status Blame(const absl::Status& status, const std::string& path) {
  if (!absl::IsInvalidArgument(status)) return WithPath(status, path);
  return WithPath(WithCode(status, absl::StatusCode::kDataLoss), path);
}

}  // namespace

absl::Status WriteStateFile(const std::string& path, const StateHeader& header,
                            std::span<const int32_t> tokens, std::span<const std::byte> state) {
  const std::string text = HeaderText(header);
  const uint64_t text_bytes = text.size();
  ASSIGN_OR_RETURN(AtomicFile out, AtomicFile::Create(path, kOwnersAlone));
  Digest digest;
  const auto append = [&](std::span<const std::byte> bytes) {
    digest.Add(bytes);
    return out.Append(bytes);
  };
  RETURN_IF_ERROR(append(std::as_bytes(std::span(kFormat))));
  RETURN_IF_ERROR(append(std::as_bytes(std::span(kVersion))));
  RETURN_IF_ERROR(append(std::as_bytes(std::span(&text_bytes, 1))));
  const Digest::Value text_checksum = Digest::Of(text);
  RETURN_IF_ERROR(append(std::span<const std::byte>(text_checksum)));
  RETURN_IF_ERROR(append(std::as_bytes(std::span(text))));
  RETURN_IF_ERROR(append(std::as_bytes(tokens)));
  RETURN_IF_ERROR(append(state));
  const Digest::Value checksum = digest.value();
  RETURN_IF_ERROR(out.Append(std::span<const std::byte>(checksum)));
  return out.Commit();
}

absl::StatusOr<StateFile> ParseStateFile(std::span<const std::byte> bytes) {
  ASSIGN_OR_RETURN(Layout layout, LayOut(bytes, bytes.size()));
  if (!IsChecksumOf(bytes.subspan(layout.checksum_begin), bytes.first(layout.checksum_begin))) {
    return absl::InvalidArgumentError("the checksum is not that of its contents");
  }
  StateFile file;
  file.header = std::move(layout.header);
  file.tokens.resize(file.header.tokens);
  std::ranges::copy(bytes.subspan(layout.tokens_begin, file.header.tokens * sizeof(int32_t)),
                    std::as_writable_bytes(std::span(file.tokens)).begin());
  const auto negative = std::ranges::find_if(file.tokens, [](int32_t token) { return token < 0; });
  if (negative != file.tokens.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens: ", *negative, " seen, expected 0 or more"));
  }
  file.state.assign(bytes.begin() + layout.state_begin, bytes.begin() + layout.checksum_begin);
  return file;
}

absl::StatusOr<StateHeader> ReadStateHeader(const std::string& path) {
  ASSIGN_OR_RETURN(const FileBeginning file, ReadBeginning(path, kPreamble + kMaxHeader));
  auto layout = LayOut(std::as_bytes(std::span(file.bytes)), file.file_bytes);
  if (!layout.ok()) return Blame(layout.status(), path);
  return std::move(layout->header);
}

absl::StatusOr<StateFile> ReadStateFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path, kMaxFile));
  auto parsed = ParseStateFile(std::as_bytes(std::span(bytes)));
  if (!parsed.ok()) return Blame(parsed.status(), path);
  return parsed;
}

}  // namespace whipsnake::engine
