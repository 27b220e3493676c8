// Definitions shared by the reader and the writer of safetensors.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_FORMAT_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

inline constexpr int64_t kLengthBytes = 8;
inline constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
inline constexpr size_t kMaxDimensions = 8;
inline constexpr std::string_view kMetadataName = "__metadata__";

// The start of a message about a tensor.
inline std::string TensorText(std::string_view name) {
  return absl::StrCat("tensor ", Quoted(name));
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_SAFETENSORS_FORMAT_H_
