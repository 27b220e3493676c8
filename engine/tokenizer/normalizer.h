// The normalizers of a tokenizer.json, which change the text before it is split.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_NORMALIZER_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// One step. Immutable and thread-safe.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  // Changes well-formed, non-empty `text` in place.
  virtual absl::Status Apply(std::string* text) const = 0;
};

// Applies steps in order. Immutable and thread-safe.
class Normalizer {
 public:
  // Reads the field "normalizer": null, NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend or a
  // Sequence of them. Returns UNIMPLEMENTED for other types.
  static absl::StatusOr<Normalizer> Parse(const JsonView& view);

  bool empty() const { return steps_.empty(); }

  // Returns the normal form of well-formed `text`, or RESOURCE_EXHAUSTED if it exceeds 64 times the
  // size of the text plus 64 KiB.
  absl::StatusOr<std::string> Apply(std::string_view text) const;

 private:
  absl::Status Append(const JsonView& view);

  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_NORMALIZER_H_
