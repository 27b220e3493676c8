// SHA-256 of bytes that arrive piece by piece, as uploads announce and the server checks it.
#ifndef WHIPSNAKE_SERVER_DATASETS_SHA256_H_
#define WHIPSNAKE_SERVER_DATASETS_SHA256_H_

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

namespace whipsnake::server {

// Movable, not thread-safe.
class Sha256 {
 public:
  Sha256();

  void Add(std::string_view bytes);
  // Of what has been added so far: "sha256:" and 64 hexadecimal digits.
  std::string text() const;

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

// Whether the text has the form of Sha256::text.
bool IsSha256(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_SHA256_H_
