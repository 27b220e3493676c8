#include "engine/checkpoint/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>
#include <utility>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/files.h"

namespace whipsnake::engine {

struct Digest::Hash {
  XXH3_state_t state;
};

Digest::Digest() : hash_(std::make_unique<Hash>()) { XXH3_128bits_reset(&hash_->state); }
Digest::~Digest() = default;

void Digest::Add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&hash_->state, bytes.data(), bytes.size());
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

absl::StatusOr<std::string> DigestModel(const std::string& directory,
                                        const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const std::string config, ReadTextFile(directory + "/config.json"));
  Digest digest;
  digest.Add(absl::StrCat(config.size(), " "));
  digest.Add(config);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    digest.Add(absl::StrCat(name.size(), " ", name, " ", static_cast<int>(tensor.dtype), " ",
                            ShapeText(tensor.shape), " "));
    digest.Add(tensor.data);
  }
  RETURN_IF_ERROR(checkpoint.Check());
  return digest.text();
}

}  // namespace whipsnake::engine
