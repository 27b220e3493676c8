#include "server/config/codec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/human.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

using engine::InvalidField;
using engine::Quoted;
using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr std::array<std::pair<std::string_view, LogLevel>, 4> kLevels = {
    {{"error", LogLevel::kError},
     {"warning", LogLevel::kWarning},
     {"info", LogLevel::kInfo},
     {"debug", LogLevel::kDebug}}};

template <std::integral T>
std::string RangeText(T least, T most) {
  if (most == std::numeric_limits<T>::max()) return absl::StrCat("at least ", least);
  return absl::StrCat("from ", least, " to ", most);
}

template <std::integral T>
Codec<T> IntegerCodec(T least, T most) {
  const std::string expected = absl::StrCat("an integer ", RangeText(least, most));
  return {
      .kind = ValueKind::kInteger,
      .value_name = "INT",
      .parse = [expected](std::string_view place, const std::string& text) -> absl::StatusOr<T> {
        T value;
        if (absl::SimpleAtoi(text, &value)) return value;
        return InvalidField(place, Quoted(text), expected);
      },
      .show = [](const T& value) { return Json(value); },
      .check =
          [=](std::string_view place, const T& value) {
            if (value >= least && value <= most) return absl::OkStatus();
            return InvalidField(place, absl::StrCat(value), expected);
          }};
}

Codec<std::string> TextCodec(ValueKind kind, std::string value_name) {
  return {.kind = kind,
          .value_name = std::move(value_name),
          .parse = [](std::string_view, const std::string& text) -> absl::StatusOr<std::string> {
            return text;
          },
          .show = [](const std::string& value) { return Json(value); },
          .check = [](std::string_view, const std::string&) { return absl::OkStatus(); }};
}

// A value that is one of a few words.
template <typename T>
Codec<T> WordCodec(std::vector<std::pair<std::string, T>> words) {
  std::vector<std::string> names;
  for (const auto& word : words) names.push_back(word.first);
  const std::string expected = absl::StrCat("one of ", absl::StrJoin(names, ", "));
  return {.kind = ValueKind::kText,
          .value_name = "WORD",
          .choices = std::move(names),
          .parse = [=](std::string_view place, const std::string& text) -> absl::StatusOr<T> {
            for (const auto& word : words) {
              if (word.first == text) return word.second;
            }
            return InvalidField(place, Quoted(text), expected);
          },
          .show =
              [=](const T& value) {
                for (const auto& word : words) {
                  if (word.second == value) return Json(word.first);
                }
                return Json();
              },
          .check = [](std::string_view, const T&) { return absl::OkStatus(); }};
}

}  // namespace

Codec<bool> Boolean() {
  return {.kind = ValueKind::kBoolean,
          .value_name = "",
          .parse = [](std::string_view place, const std::string& text) -> absl::StatusOr<bool> {
            for (const char* yes : {"true", "on", "1"}) {
              if (text == yes) return true;
            }
            for (const char* no : {"false", "off", "0"}) {
              if (text == no) return false;
            }
            return InvalidField(place, Quoted(text), "true or false");
          },
          .show = [](const bool& value) { return Json(value); },
          .check = [](std::string_view, const bool&) { return absl::OkStatus(); }};
}

Codec<std::string> Word(std::vector<std::string> words) {
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(words.size());
  for (const std::string& word : words) pairs.emplace_back(word, word);
  Codec<std::string> codec = WordCodec<std::string>(std::move(pairs));
  codec.show = [](const std::string& value) { return Json(value); };
  codec.check = [parse = codec.parse](std::string_view place, const std::string& value) {
    return value.empty() ? absl::OkStatus() : parse(place, value).status();
  };
  return codec;
}

Codec<std::string> Path() { return TextCodec(ValueKind::kPath, "DIR"); }

Codec<std::string> File() { return TextCodec(ValueKind::kPath, "FILE"); }

Codec<std::string> Address() { return TextCodec(ValueKind::kAddress, "ADDRESS"); }

Codec<int64_t> Integer(int64_t least, int64_t most) { return IntegerCodec(least, most); }

Codec<int> SmallInteger(int least, int most) { return IntegerCodec(least, most); }

Codec<double> Number(double above, double most) {
  const std::string expected = absl::StrCat("a number above ", above, " and at most ", most);
  return {.kind = ValueKind::kNumber,
          .value_name = "NUMBER",
          .parse = [=](std::string_view place, const std::string& text) -> absl::StatusOr<double> {
            double value = 0;
            const bool decimal = text.find_first_of("xX") == std::string::npos;
            if (decimal && absl::SimpleAtod(text, &value) && std::isfinite(value)) return value;
            return InvalidField(place, Quoted(text), expected);
          },
          .show = [](const double& value) { return Json(value); },
          .check =
              [=](std::string_view place, const double& value) {
                if (value > above && value <= most) return absl::OkStatus();
                return InvalidField(place, absl::StrCat(value), expected);
              }};
}

Codec<int64_t> Bytes(int64_t least) {
  return {.kind = ValueKind::kBytes,
          .value_name = "SIZE",
          .parse = [](std::string_view place, const std::string& text) -> absl::StatusOr<int64_t> {
            int64_t exact = 0;
            if (absl::SimpleAtoi(text, &exact) && exact >= 0) return exact;
            return engine::ParseBytes(place, text);
          },
          .show = [](const int64_t& value) { return Json(value); },
          .check =
              [least](std::string_view place, const int64_t& value) {
                if (value >= least) return absl::OkStatus();
                return InvalidField(place, absl::StrCat(value),
                                    absl::StrCat("at least ", least, " bytes"));
              }};
}

Codec<milliseconds> Duration(milliseconds least, milliseconds most) {
  const auto show = [](const milliseconds& value) {
    const int64_t count = value.count();
    return count % 1000 == 0 ? Json(count / 1000) : Json(static_cast<double>(count) / 1000);
  };
  const auto in_seconds = [](milliseconds value) {
    return absl::StrCat(std::chrono::duration<double>(value).count());
  };
  const std::string expected =
      absl::StrCat(in_seconds(least), " to ", in_seconds(most), " seconds");
  return {
      .kind = ValueKind::kDuration,
      .value_name = "SECONDS",
      .parse = [](std::string_view place, const std::string& text) -> absl::StatusOr<milliseconds> {
        ASSIGN_OR_RETURN(const double seconds, engine::ParseSeconds(place, text));
        return milliseconds(std::llround(seconds * 1000));
      },
      .show = show,
      .check =
          [=](std::string_view place, const milliseconds& value) {
            if (value >= least && value <= most) return absl::OkStatus();
            return InvalidField(place, in_seconds(value), expected);
          }};
}

Codec<mode_t> FileMode() {
  static constexpr char kExpected[] =
      "permissions as an octal number from 0600 to 0777, such as 0660";
  return {.kind = ValueKind::kText,
          .value_name = "MODE",
          .parse = [](std::string_view place, const std::string& text) -> absl::StatusOr<mode_t> {
            const bool octal = !text.empty() && text.size() <= 4 &&
                               text.find_first_not_of("01234567") == std::string::npos;
            if (!octal) return InvalidField(place, Quoted(text), kExpected);
            return static_cast<mode_t>(std::stoul(text, nullptr, 8));
          },
          .show = [](const mode_t& value) { return Json(absl::StrFormat("%04o", value)); },
          .check =
              [](std::string_view place, const mode_t& value) {
                if (value >= 0600 && value <= 0777) return absl::OkStatus();
                return InvalidField(place, absl::StrFormat("%04o", value), kExpected);
              }};
}

Codec<std::optional<bool>> OnOffAuto() {
  return WordCodec<std::optional<bool>>({{"on", true}, {"off", false}, {"auto", std::nullopt}});
}

Codec<LogLevel> LevelName() {
  std::vector<std::pair<std::string, LogLevel>> words(kLevels.begin(), kLevels.end());
  return WordCodec<LogLevel>(std::move(words));
}

}  // namespace whipsnake::server
