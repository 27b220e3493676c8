#include "server/access/token_table.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "server/access/token.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxRemarkBytes = 256;  // of a certificate's name, and of a description
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
  record.sha256 = reader.Text("sha256", "");
  record.certificate = reader.Text("certificate", "");
  record.description = reader.Text("description", "");
  const std::string expires = reader.Text("expires", "");
  if (!IsTokenName(record.name)) {
    reader.Reject("name", "1 to 64 letters, digits, '.', '_' and '-'");
  }
  if (reader.Has("sha256") == reader.Has("certificate")) {
    reader.Reject(reader.Has("sha256") ? "certificate" : "sha256",
                  "either the digest of a token or the name of a certificate");
  }
  if (reader.Has("sha256") && !IsTokenDigest(record.sha256)) {
    reader.Reject("sha256", "64 hexadecimal digits in lower case");
  }
  const auto check_text = [&](const char* field, const std::string& text, bool may_be_empty) {
    if (!reader.Has(field) || (text.size() <= kMaxRemarkBytes && (may_be_empty || !text.empty()))) {
      return;
    }
    reader.Reject(field, absl::StrCat(may_be_empty ? "at most " : "1 to ", kMaxRemarkBytes,
                                      " bytes of text"));
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

}  // namespace

bool IsTokenName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::ranges::all_of(text, [](char c) {
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
    if (!added.ok()) return engine::WithContext(added, absl::StrCat("line ", number));
  }
  return table;
}

absl::Status TokenTable::Add(TokenRecord record) {
  if (size() == kMaxRecords) {
    return engine::InvalidField("name", absl::StrCat(kMaxRecords + 1, " entries"),
                                absl::StrCat("at most ", kMaxRecords));
  }
  const auto unique = [](const char* field, const std::string& value, bool is_known) {
    return is_known ? engine::InvalidField(field, engine::Quoted(value) + " again",
                                           "a value that no line before has")
                    : absl::OkStatus();
  };
  RETURN_IF_ERROR(unique("name", record.name, by_name_.contains(record.name)));
  RETURN_IF_ERROR(unique("sha256", record.sha256, by_digest_.contains(record.sha256)));
  RETURN_IF_ERROR(
      unique("certificate", record.certificate, by_certificate_.contains(record.certificate)));
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
  ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(path, kMaxTableBytes));
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0) {
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
      return engine::WithPath(absl::InvalidArgumentError(
                                  "a file that others than its owner may write; whoever writes it "
                                  "gives out tokens: chmod go-w"),
                              path);
    }
    if ((info.st_mode & S_IROTH) != 0) {
      Log(LogLevel::kWarning, "everyone on this machine may read the names of the tokens",
          {{"file", path}, {"remedy", "chmod o-r"}});
    }
  }
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
