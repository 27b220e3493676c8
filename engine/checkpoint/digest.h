// Digests that tell whether two byte sequences are equal: XXH3 (Yann Collet's xxHash) with 128
// bits. It is fast enough for the weights of a model. Not cryptographic: it does not protect
// against tampering.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_DIGEST_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_DIGEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

class Checkpoint;

// A digest of bytes that are added piece by piece. Not thread-safe.
class Digest {
 public:
  using Value = std::array<std::byte, 16>;

  Digest();
  ~Digest();

  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text))); }
  Value value() const;
  std::string text() const;  // 32 hexadecimal digits

 private:
  struct Hash;
  const std::unique_ptr<Hash> hash_;
};

// Returns the digest of a model directory's config.json and tensors. It does not depend on how the
// tensors are split into files, and two models with the same digest compute the same. Reads all
// weights. Returns DATA_LOSS if the files of the checkpoint have changed since it was opened; other
// errors as from ReadTextFile.
absl::StatusOr<std::string> DigestModel(const std::string& directory, const Checkpoint& checkpoint);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_DIGEST_H_
