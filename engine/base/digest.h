// Digests that tell whether two byte sequences are equal: XXH3 (Yann Collet's xxHash) with 128
// bits. It is fast enough for the weights of a model. Not cryptographic: it does not protect
// against tampering.
#ifndef WHIPSNAKE_ENGINE_BASE_DIGEST_H_
#define WHIPSNAKE_ENGINE_BASE_DIGEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace whipsnake::engine {

// A digest of bytes that are added piece by piece. Not thread-safe.
class Digest {
 public:
  using Value = std::array<std::byte, 16>;

  Digest();
  ~Digest();

  // Returns the digest of `bytes` alone.
  static Value Of(std::span<const std::byte> bytes);
  static Value Of(std::string_view text) { return Of(std::as_bytes(std::span(text))); }

  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text))); }
  Value value() const;
  std::string text() const;  // 32 hexadecimal digits

 private:
  struct Hash;
  const std::unique_ptr<Hash> hash_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_DIGEST_H_
