// The file of tokens: who may call the server, and what they may do.
//
// One JSON object a line. Empty lines, and lines that begin with '#', are skipped.
//
//   name         1 to 64 letters, digits, '.', '_' and '-', not like a token; in the log, unique
//   sha256       the token's digest (TokenDigest); unique
//   certificate  in place of sha256: the common name of a client certificate; unique. The holder of
//                such a certificate needs no token on the gRPC port
//   scopes       a list of "infer", "train" and "admin"; may be empty
//   expires      optional: a time as RFC 3339 has it, "2027-01-01T00:00:00Z"
//   description  optional, for people
#ifndef WHIPSNAKE_SERVER_ACCESS_TOKEN_TABLE_H_
#define WHIPSNAKE_SERVER_ACCESS_TOKEN_TABLE_H_

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/access/caller.h"

namespace whipsnake::server {

// An entry of the file.
struct TokenRecord {
  std::string name;
  std::string sha256;       // "" for an entry with a certificate
  std::string certificate;  // "" for an entry with a digest
  ScopeSet scopes;
  std::optional<std::chrono::system_clock::time_point> expires;
  std::string description;

  Caller caller() const { return {.name = name, .scopes = scopes}; }
};

// Whether the text can be a record's name, which is as kTokenNameForm says.
inline constexpr std::string_view kTokenNameForm =
    "1 to 64 letters, digits, '.', '_' and '-', and not wsn_ first";
bool IsTokenName(std::string_view text);

// A time as people write one: RFC 3339, or a date, which means its beginning in UTC.
// INVALID_ARGUMENT, which names `field`, for another text.
absl::StatusOr<std::chrono::system_clock::time_point> ParseExpiry(std::string_view field,
                                                                  std::string_view text);

// The line of the file, without its end. The texts must be UTF-8.
std::string ToLine(const TokenRecord& record);

// The entries of a file. Does not change, but can be moved.
class TokenTable {
 public:
  TokenTable() = default;
  TokenTable(TokenTable&&) = default;
  TokenTable& operator=(TokenTable&&) = default;

  static constexpr size_t kMaxRecords = 10'000;
  static constexpr size_t kMaxRemarkBytes = 256;  // of a certificate's name, and of a description

  // INVALID_ARGUMENT with line, field, value and what was expected: "line 3: scopes[0]: ...". What
  // begins like a token, and the value of sha256, are never shown.
  static absl::StatusOr<TokenTable> Parse(std::string_view text);

  // Reads a file. Its errors name the path, unless that is a token. A file that others than root
  // and the effective user may write, or own, is refused, because whoever writes it gives out
  // tokens. One that others may read is not, as nobody finds a token for a digest.
  static absl::StatusOr<TokenTable> Load(const std::string& path);

  // Null if there is none.
  const TokenRecord* FindToken(std::string_view token) const;
  const TokenRecord* FindCertificate(std::string_view common_name) const;
  bool HasName(std::string_view name) const { return by_name_.contains(name); }

  size_t size() const { return by_name_.size(); }

 private:
  absl::Status Add(TokenRecord record);

  using Index = std::map<std::string, const TokenRecord*, std::less<>>;

  std::map<std::string, TokenRecord, std::less<>> by_name_;  // nodes stay where they are
  Index by_digest_;
  Index by_certificate_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_TOKEN_TABLE_H_
