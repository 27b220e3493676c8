// Helpers of tests that read and write files.
#ifndef WHIPSNAKE_TESTS_ENGINE_BASE_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_BASE_SUPPORT_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace whipsnake::engine {

// A temporary directory that is removed with the object.
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

// Matches a Status or StatusOr without an error.
MATCHER(IsOk, "") {
  if constexpr (requires { arg.status(); }) {
    *result_listener << arg.status().ToString();
  } else {
    *result_listener << arg.ToString();
  }
  return arg.ok();
}

// Matches a Status or StatusOr that has this code and whose message contains `text`.
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

#endif  // WHIPSNAKE_TESTS_ENGINE_BASE_SUPPORT_H_
