#include "server/datasets/sha256.h"

#include <array>
#include <new>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace whipsnake::server {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr size_t kDigits = 64;

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  // OpenSSL fails here only for lack of memory.
  if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

void Sha256::Add(std::string_view bytes) {
  EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

std::string Sha256::text() const {
  const Sha256 copy;  // the digest of a context can be taken only once
  EVP_MD_CTX_copy_ex(copy.context_.get(), context_.get());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int bytes = 0;
  EVP_DigestFinal_ex(copy.context_.get(), digest.data(), &bytes);
  return absl::StrCat(absl::string_view(kPrefix.data(), kPrefix.size()),
                      absl::BytesToHexString(
                          absl::string_view(reinterpret_cast<const char*>(digest.data()), bytes)));
}

bool IsSha256(std::string_view text) {
  return text.starts_with(kPrefix) && text.size() == kPrefix.size() + kDigits &&
         text.find_first_not_of("0123456789abcdef", kPrefix.size()) == text.npos;
}

}  // namespace whipsnake::server
