#include "server/access/token.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <new>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr size_t kRandomBytes = 32;
constexpr size_t kSecretCharacters = 43;  // of the bytes in base64, without padding
constexpr size_t kDigestCharacters = 64;

bool IsBase64Url(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
}

}  // namespace

absl::StatusOr<std::string> NewToken() {
  std::array<unsigned char, kRandomBytes> bytes = {};
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) {
    return absl::InternalError("the system has no random numbers for a token");
  }
  const absl::string_view secret(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return absl::StrCat(engine::ToAbsl(kTokenPrefix), absl::WebSafeBase64Escape(secret));
}

bool IsToken(std::string_view text) {
  if (!text.starts_with(kTokenPrefix)) return false;
  const std::string_view secret = text.substr(kTokenPrefix.size());
  return secret.size() == kSecretCharacters && std::ranges::all_of(secret, IsBase64Url);
}

std::optional<std::string_view> BearerToken(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";  // its letters have no case
  if (!absl::StartsWithIgnoreCase(engine::ToAbsl(authorization), engine::ToAbsl(kScheme))) {
    return std::nullopt;
  }
  const std::string_view token = authorization.substr(kScheme.size());
  return IsToken(token) ? std::optional(token) : std::nullopt;
}

bool IsTokenForPath(std::string_view path) {
  return path.substr(path.rfind('/') + 1).starts_with(kTokenPrefix);
}

std::string RedactTokens(std::string_view text) {
  std::string redacted;
  for (size_t begin = text.find(kTokenPrefix); begin != text.npos;
       begin = text.find(kTokenPrefix)) {
    const std::string_view rest = text.substr(begin);
    const auto end = std::ranges::find_if_not(rest, IsBase64Url);
    absl::StrAppend(&redacted, engine::ToAbsl(text.substr(0, begin + kTokenPrefix.size())),
                    "[redacted]");
    text = rest.substr(end - rest.begin());
  }
  return absl::StrCat(redacted, engine::ToAbsl(text));
}

absl::Status RedactTokens(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), RedactTokens(std::string(status.message())));
}

std::string TokenDigest(std::string_view token) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int bytes = 0;
  // OpenSSL fails here only for lack of memory.
  if (EVP_Digest(token.data(), token.size(), digest.data(), &bytes, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), bytes});
}

bool IsTokenDigest(std::string_view text) {
  return text.size() == kDigestCharacters &&
         text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace whipsnake::server
