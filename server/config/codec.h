// The kinds of values that settings have: how each is read from text, shown as JSON and checked.
#ifndef WHIPSNAKE_SERVER_CONFIG_CODEC_H_
#define WHIPSNAKE_SERVER_CONFIG_CODEC_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/setting.h"
#include "server/logging.h"

namespace whipsnake::server {

template <typename T>
struct Codec {
  ValueKind kind;
  std::string value_name;  // for --help
  std::vector<std::string> choices = {};
  // Errors are INVALID_ARGUMENT with `place` as their field. The range of a value is left to
  // `check`, so that it holds for options from anywhere.
  std::function<absl::StatusOr<T>(std::string_view place, const std::string& text)> parse = nullptr;
  std::function<nlohmann::ordered_json(const T& value)> show = nullptr;
  std::function<absl::Status(std::string_view place, const T& value)> check = nullptr;
};

Codec<bool> Boolean();
Codec<std::string> Word(std::vector<std::string> words);  // or "", which no source can set
Codec<std::string> Path();                                // of a directory
Codec<std::string> File();                                // the path of a file
Codec<std::string> Address();
Codec<int64_t> Integer(int64_t least, int64_t most = std::numeric_limits<int64_t>::max());
Codec<int> SmallInteger(int least, int most = std::numeric_limits<int>::max());
Codec<double> Number(double above, double most);  // above is excluded
Codec<int64_t> Bytes(int64_t least);
Codec<std::chrono::milliseconds> Duration(std::chrono::milliseconds least,
                                          std::chrono::milliseconds most);
Codec<mode_t> FileMode();                // "0660"
Codec<std::optional<bool>> OnOffAuto();  // auto: unset
Codec<LogLevel> LevelName();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONFIG_CODEC_H_
