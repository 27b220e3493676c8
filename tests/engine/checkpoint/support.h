// What the tests of this folder share.
#ifndef WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// A directory that lives as long as the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "whipsnake-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  int entries() const { return std::distance(std::filesystem::directory_iterator(path_), {}); }

 private:
  std::filesystem::path path_;
};

inline std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteBytes(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The bytes of a safetensors file with this header and `data_bytes` zeros after it.
inline std::string SafetensorsBytes(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data_bytes, '\0');
}

// Works for Status and StatusOr alike: the code, and a text that the message must contain.
MATCHER_P2(Fails, code, text, "") {
  const absl::Status* status;
  if constexpr (requires { arg.status(); }) {
    status = &arg.status();
  } else {
    status = &arg;
  }
  *result_listener << status->ToString();
  return status->code() == code && std::string(status->message()).find(text) != std::string::npos;
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_CHECKPOINT_SUPPORT_H_
