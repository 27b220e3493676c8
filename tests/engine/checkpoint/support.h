// Helpers shared by the checkpoint tests.
#ifndef WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/engine/base/support.h"

namespace whipsnake::engine {

// Returns the bytes of a safetensors file: this header, then `data_bytes` zeros.
inline std::string SafetensorsBytes(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data_bytes, '\0');
}

// Adds a tensor of `bytes` zeros and of any type to a safetensors file.
inline void AddTensor(const std::string& path, const std::string& name, std::string_view type,
                      const std::vector<int64_t>& shape, size_t bytes) {
  const std::string file = ReadBytes(path);
  uint64_t length;
  std::memcpy(&length, file.data(), sizeof(length));
  auto header = nlohmann::json::parse(file.substr(8, length));
  const size_t end = file.size() - 8 - length;
  header[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
  std::string changed = SafetensorsBytes(header.dump(), 0);
  WriteBytes(path, changed.append(file, 8 + length).append(bytes, '\0'));
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
