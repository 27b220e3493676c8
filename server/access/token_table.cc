#include "server/access/token_table.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/open_file.h"
#include "engine/base/status.h"
#include "server/access/token.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 64;
constexpr int64_t kMaxTableBytes = int64_t{8} << 20;

constexpr std::array<std::string_view, 6> kFields = {"name",   "sha256",  "certificate",
                                                     "scopes", "expires", "description"};

absl::StatusOr<ScopeSet> ReadScopes(const json& object) {
  const engine::JsonView view = engine::JsonObjectReader(object)["scopes"];
  ASSIGN_OR_RETURN(const std::vector<engine::JsonView> elements, view.Elements());
  ScopeSet scopes;
  for (const engine::JsonView& element : elements) {
    ASSIGN_OR_RETURN(const std::string text, element.Text());
    const std::optional<Scope> scope = ParseTokenScope(text);
    if (!scope) return element.Invalid("infer, train or admin");
    scopes.Add(*scope);
  }
  return scopes;
}

// The value is not in the error: it may be the token itself.
absl::StatusOr<std::string> ReadDigest(const engine::JsonView& view) {
  if (view.is_null()) return std::string();
  if (view.value().is_string()) {
    std::string digest = view.value().get<std::string>();
    if (IsTokenDigest(digest)) return digest;
  }
  return engine::InvalidField("sha256", "another value",
                              "64 hexadecimal digits in lower case, the digest of a token");
}

absl::StatusOr<TokenRecord> ReadTokenRecord(std::string_view line) {
  ASSIGN_OR_RETURN(const json object, engine::ParseJsonObject(line));
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(kFields, key) == kFields.end()) {
      return engine::InvalidField(key, "a field",
                                  "name, sha256, certificate, scopes, expires or description");
    }
  }
  engine::JsonObjectReader reader(object);
  TokenRecord record;
  record.name = reader.Text("name", "");
  ASSIGN_OR_RETURN(record.sha256, ReadDigest(reader["sha256"]));
  record.certificate = reader.Text("certificate", "");
  record.description = reader.Text("description", "");
  const std::string expires = reader.Text("expires", "");
  if (!IsTokenName(record.name)) {
    reader.Reject("name", kTokenNameForm);
  }
  if (reader.Has("sha256") == reader.Has("certificate")) {
    reader.Reject(reader.Has("sha256") ? "certificate" : "sha256",
                  "either the digest of a token or the name of a certificate");
  }
  const auto check_text = [&](const char* field, const std::string& text, bool may_be_empty) {
    if (!reader.Has(field) ||
        (text.size() <= TokenTable::kMaxRemarkBytes && (may_be_empty || !text.empty()))) {
      return;
    }
    reader.Reject(field, absl::StrCat(may_be_empty ? "at most " : "1 to ",
                                      TokenTable::kMaxRemarkBytes, " bytes of text"));
  };
  check_text("certificate", record.certificate, false);
  check_text("description", record.description, true);
  RETURN_IF_ERROR(reader.status());
  ASSIGN_OR_RETURN(record.scopes, ReadScopes(object));
  if (reader.Has("expires")) {
    ASSIGN_OR_RETURN(record.expires, ParseExpiry("expires", expires));
  }
  return record;
}

// Whoever writes the file gives out tokens: its owner, for one, who may change its permissions.
absl::Status CheckWriters(const engine::Descriptor& file) {
  struct stat info = {};
  if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (info.st_uid != 0 && info.st_uid != geteuid()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a file of user ", info.st_uid, " seen, expected one of root or of user ", geteuid(),
        ", as which the server runs; whoever writes it gives out tokens: "
        "chown root"));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::InvalidArgumentError(
        "a file that others than its owner may write; whoever writes it gives out tokens: "
        "chmod go-w");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsTokenName(std::string_view text) {
  if (text.empty() || text.size() > kMaxNameBytes || text.starts_with(kTokenPrefix)) return false;
  return std::ranges::all_of(text, [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

absl::StatusOr<std::chrono::system_clock::time_point> ParseExpiry(std::string_view field,
                                                                  std::string_view text) {
  absl::Time time;
  std::string error;
  const bool is_time = absl::ParseTime(absl::RFC3339_full, engine::ToAbsl(text), &time, &error) ||
                       absl::ParseTime("%Y-%m-%d", engine::ToAbsl(text), &time, &error);
  // The clock of the system ends in 2262.
  const auto of_clock = absl::ToChronoTime(time);
  if (is_time && absl::FromChrono(of_clock) == time) return of_clock;
  return engine::InvalidField(field, engine::Quoted(text),
                              "a time like 2027-01-01T00:00:00Z, or a date, up to 2262");
}

std::string ToLine(const TokenRecord& record) {
  nlohmann::ordered_json object;
  object["name"] = record.name;
  object[record.sha256.empty() ? "certificate" : "sha256"] =
      record.sha256.empty() ? record.certificate : record.sha256;
  auto scopes = nlohmann::ordered_json::array();
  for (const Scope scope : {Scope::kInfer, Scope::kTrain, Scope::kAdmin}) {
    if (record.scopes.Contains(scope)) scopes.push_back(std::string(Name(scope)));
  }
  object["scopes"] = std::move(scopes);
  if (record.expires) {
    object["expires"] =
        absl::FormatTime(absl::RFC3339_sec, absl::FromChrono(*record.expires), absl::UTCTimeZone());
  }
  if (!record.description.empty()) object["description"] = record.description;
  return object.dump();
}

absl::StatusOr<TokenTable> TokenTable::Parse(std::string_view text) {
  TokenTable table;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == line.npos || line.starts_with('#')) continue;
    absl::StatusOr<TokenRecord> record = ReadTokenRecord(line);
    const absl::Status added = record.ok() ? table.Add(*std::move(record)) : record.status();
    if (!added.ok()) {
      return engine::WithContext(RedactTokens(added), absl::StrCat("line ", number));
    }
  }
  return table;
}

absl::Status TokenTable::Add(TokenRecord record) {
  if (size() == kMaxRecords) {
    return engine::InvalidField("name", absl::StrCat(kMaxRecords + 1, " entries"),
                                absl::StrCat("at most ", kMaxRecords));
  }
  const auto unique = [](const char* field, const std::string& seen, bool is_known) {
    return is_known
               ? engine::InvalidField(field, seen + " again", "a value that no line before has")
               : absl::OkStatus();
  };
  RETURN_IF_ERROR(unique("name", engine::Quoted(record.name), by_name_.contains(record.name)));
  RETURN_IF_ERROR(unique("sha256", "a digest", by_digest_.contains(record.sha256)));
  RETURN_IF_ERROR(unique("certificate", engine::Quoted(record.certificate),
                         by_certificate_.contains(record.certificate)));
  const std::string name = record.name;
  const TokenRecord& stored = by_name_[name] = std::move(record);
  if (stored.sha256.empty()) {
    by_certificate_[stored.certificate] = &stored;
  } else {
    by_digest_[stored.sha256] = &stored;
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenTable> TokenTable::Load(const std::string& path) {
  if (IsTokenForPath(path)) {
    return absl::InvalidArgumentError("a token seen, expected the path of a file");
  }
  ASSIGN_OR_RETURN(const engine::Descriptor file, engine::OpenRegularFile(path));
  RETURN_IF_ERROR(engine::WithPath(CheckWriters(file), path));
  ASSIGN_OR_RETURN(const std::string text, engine::ReadText(file, path, kMaxTableBytes));
  absl::StatusOr<TokenTable> table = Parse(text);
  if (!table.ok()) return engine::WithPath(table.status(), path);
  return table;
}

// A look-up takes a time that depends on the digests, not on the tokens. It may tell how many
// digits of a stored digest a guess's digest shares. That helps nobody: a guess whose digest begins
// like another one is no nearer to the token, of which there are 2^256.
const TokenRecord* TokenTable::FindToken(std::string_view token) const {
  const auto found = by_digest_.find(TokenDigest(token));
  return found == by_digest_.end() ? nullptr : found->second;
}

const TokenRecord* TokenTable::FindCertificate(std::string_view common_name) const {
  const auto found = by_certificate_.find(common_name);
  return found == by_certificate_.end() ? nullptr : found->second;
}

}  // namespace whipsnake::server
