#include "server/datasets/dataset_header.h"

#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "engine/base/digest.h"
#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "server/client_names.h"
#include "server/datasets/sha256.h"

namespace whipsnake::server {
namespace {

using engine::InvalidField;

constexpr size_t kMaxColumnBytes = 255;

absl::StatusOr<engine::RowFormat> ParseFormat(const std::string& format) {
  if (format == "jsonl") return engine::RowFormat::kJsonLines;
  if (format == "csv") return engine::RowFormat::kCsv;
  return InvalidField("format", engine::Quoted(format), "\"jsonl\" or \"csv\"");
}

absl::Status CheckAtLeast(std::string_view field, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value), absl::StrCat("at least ", least));
}

absl::Status CheckLength(std::string_view field, const std::string& text, size_t least,
                         size_t most) {
  if (text.size() >= least && text.size() <= most) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(text.size(), " bytes"),
                      absl::StrCat(least, " to ", most));
}

}  // namespace

absl::Status CheckHeader(const v1::UploadHeader& header) {
  engine::FieldErrors errors;
  if (!header.id().empty()) errors.Add(CheckName("id", header.id()));
  errors.Add(engine::ParseTask(header.task()).status());
  errors.Add(ParseFormat(header.format()).status());
  errors.Add(CheckAtLeast("size_bytes", header.size_bytes(), 1));
  if (!IsSha256(header.digest())) {
    errors.Add(InvalidField("digest", engine::Quoted(header.digest()),
                            "\"sha256:\" and 64 hexadecimal digits in lower case"));
  }
  if (header.offset() < 0 || header.offset() > header.size_bytes()) {
    errors.Add(InvalidField("offset", absl::StrCat(header.offset()), "0 to size_bytes"));
  }
  errors.Add(CheckLabels({header.labels().begin(), header.labels().end()}));
  engine::DatasetOptions options;
  options.end_of_text = 0;  // known once the model is
  if (header.max_length() != 0) options.max_length = header.max_length();
  errors.Add(engine::Validate(options));
  errors.Add(CheckLength("label_column", header.label_column(), 0, kMaxColumnBytes));
  return errors.status();
}

std::string DefaultId(const v1::UploadHeader& header) {
  const std::string text = absl::StrJoin(
      {header.task(), header.format(), header.digest(), header.model(),
       absl::StrCat(header.max_length(), " ", header.no_header()), header.label_column()},
      "\n");
  const engine::Digest::Value digest = engine::Digest::Of(text);
  constexpr size_t kBytes = 8;
  return absl::StrCat("dataset-", absl::BytesToHexString(absl::string_view(
                                      reinterpret_cast<const char*>(digest.data()), kBytes)));
}

bool AnnounceTheSame(const v1::UploadHeader& a, const v1::UploadHeader& b) {
  v1::UploadHeader from_the_start = a;
  from_the_start.set_offset(b.offset());
  return google::protobuf::util::MessageDifferencer::Equals(from_the_start, b);
}

engine::DatasetOptions OptionsOf(const v1::UploadHeader& header) {
  engine::DatasetOptions options;
  options.task = *engine::ParseTask(header.task());
  options.format = *ParseFormat(header.format());
  options.header = !header.no_header();
  options.label_column = header.label_column();
  if (header.max_length() != 0) options.max_length = header.max_length();
  return options;
}

}  // namespace whipsnake::server
