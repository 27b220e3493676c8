// Helpers shared by the checkpoint tests.
#ifndef WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/engine/base/support.h"

namespace whipsnake::engine {

// Returns the bytes of a safetensors file: this header, then `data_bytes` zeros.
inline std::string SafetensorsBytes(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data_bytes, '\0');
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
