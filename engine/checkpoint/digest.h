// Digests: whether bytes are the same bytes. XXH3 (Yann Collet's xxHash) with 128 bits: fast enough
// for the weights of a model, and no defence against who means harm.
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

// Of bytes that come piece by piece. Not thread-safe.
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

// Of a model directory's config.json and its tensors, however they are spread over files: two
// models of one digest compute the same. Reads all weights. DATA_LOSS where the files of the
// checkpoint have changed since it was opened; otherwise errors as from ReadTextFile.
absl::StatusOr<std::string> DigestModel(const std::string& directory, const Checkpoint& checkpoint);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_DIGEST_H_
