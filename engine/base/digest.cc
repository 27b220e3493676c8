#include "engine/base/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {

struct Digest::Hash {
  XXH3_state_t state;
};

Digest::Digest() : hash_(std::make_unique<Hash>()) { XXH3_128bits_reset(&hash_->state); }
Digest::~Digest() = default;

void Digest::Add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&hash_->state, bytes.data(), bytes.size());
}

Digest::Value Digest::Of(std::span<const std::byte> bytes) {
  Digest digest;
  digest.Add(bytes);
  return digest.value();
}

Digest::Value Digest::value() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&hash_->state));
  Value value;
  static_assert(sizeof(canonical.digest) == sizeof(value));
  std::memcpy(value.data(), canonical.digest, sizeof(value));
  return value;
}

std::string Digest::text() const {
  std::string text;
  for (const std::byte byte : value()) {
    absl::StrAppend(&text, absl::Hex(std::to_integer<int>(byte), absl::kZeroPad2));
  }
  return text;
}

}  // namespace whipsnake::engine
