#include "engine/structured/text_format.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {
namespace {

// Days that exist, of the years 0001 to 9999; February 29 only in leap years.
std::string DateFormat() {
  constexpr char kYear[] = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
  constexpr char kMultipleOf4[] = "(0[48]|[2468][048]|[13579][26])";  // of two digits, without 00
  return absl::StrCat("(", kYear,
                      "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|"
                      "30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}",
                      kMultipleOf4, "|", kMultipleOf4, "00)-02-29)");
}

std::string TimeFormat() {
  constexpr char kHourMinute[] = "([01][0-9]|2[0-3]):[0-5][0-9]";
  return absl::StrCat("(", kHourMinute, ":[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]", kHourMinute, "))");
}

// A unit may only be followed by the next smaller one.
std::string DurationFormat() {
  constexpr char kNumber[] = "[0-9]{1,4}";
  const auto chain = [&](std::string_view units) {
    std::string all;
    for (size_t i = units.size(); i-- > 0;) {
      const std::string unit = absl::StrCat(kNumber, std::string(1, units[i]));
      all = all.empty() ? unit : absl::StrCat(unit, "(", all, ")?");
    }
    return all;
  };
  const std::string time = absl::StrCat("T(", chain("HMS"), "|", chain("MS"), "|", chain("S"), ")");
  return absl::StrCat("P((", chain("YMD"), "|", chain("MD"), "|", chain("D"), ")(", time, ")?|",
                      time, "|", kNumber, "W)");
}

std::string UuidFormat(std::string_view version) {
  return absl::StrCat("[0-9a-f]{8}-[0-9a-f]{4}-", ToAbsl(version), "[0-9a-f]{3}-",
                      version == "[0-9a-f]" ? "[0-9a-f]" : "[89ab]", "[0-9a-f]{3}-[0-9a-f]{12}");
}

std::string Ipv4Format() {
  constexpr char kByte[] = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
  return absl::StrCat("(", kByte, "\\.){3}", kByte);
}

// Eight groups, or fewer with "::" in the place of at least one.
std::string Ipv6Format() {
  std::string all = "((H:){7}H|(H:){1,7}:|:(:H){1,7}|::";
  for (int before = 1; before <= 6; ++before) {
    absl::StrAppend(&all, "|(H:){", before, "}(:H){1,", 7 - before, "}");
  }
  std::string spelled;
  for (const char c : all + ")") {
    if (c == 'H') {
      spelled += "[0-9a-f]{1,4}";
    } else {
      spelled += c;
    }
  }
  return spelled;
}

// At most 47 characters; a label has at most 63.
constexpr char kLabel[] = "[A-Za-z0-9]{1,15}(-[A-Za-z0-9]{1,15}){0,2}";

std::string HostFormat() { return absl::StrCat(kLabel, "(\\.", kLabel, "){0,3}"); }

std::string EmailFormat() {
  constexpr char kAtom[] = "[A-Za-z0-9_+]([A-Za-z0-9_+-]{0,14})";
  return absl::StrCat(kAtom, "(\\.", kAtom, "){0,3}@(", kLabel, "\\.){1,3}[A-Za-z]{2,15}");
}

std::string UriFormat(int64_t max_length) {
  constexpr char kMark[] = "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
  constexpr int64_t kBeforePath = 16 + 3 + 191 + 6;  // scheme, "://", host, port
  constexpr int64_t kSmallestPath = 100;
  // Characters, of up to three bytes each, of path, query and fragment.
  const int64_t room = (max_length - kBeforePath - 5) / 3;
  std::string path = "*", tail = "*";
  std::string host = HostFormat();
  if (max_length == ExpressionPool::kUnbounded || room < kSmallestPath) {
    host = absl::StrCat("[A-Za-z0-9]+([.-][A-Za-z0-9]+)*");
  } else {
    path = absl::StrCat("{0,", std::min<int64_t>(room / 2, 5000), "}");
    tail = absl::StrCat("{0,", std::min<int64_t>(room / 4, 2500), "}");
  }
  return absl::StrCat("([a-z][a-z0-9+-]{0,14}:(//", host, "(:[1-9][0-9]{0,3})?(/(", kMark, "|/)",
                      path, ")?|", kMark, "(", kMark, "|/)", path, ")(\\?(", kMark, "|[/?])", tail,
                      ")?(#(", kMark, "|[/?])", tail, ")?)");
}

// Groups of four characters; the last may be padded. The bits that padding leaves unused are 0.
std::string Base64Format() {
  return "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?";
}

std::string JsonPointerFormat() { return "(/([A-Za-z0-9_.-]|~[01])*)*"; }

// Every URI is one of these too.
constexpr std::array<std::string_view, 5> kUriFormats = {"uri", "uri-reference", "iri",
                                                         "iri-reference", "uri-template"};

}  // namespace

std::optional<std::string> FormatPattern(std::string_view format, int64_t max_length) {
  static const auto& formats = *new std::map<std::string, std::string, std::less<>>{
      {"date", DateFormat()},
      {"time", TimeFormat()},
      {"date-time", absl::StrCat(DateFormat(), "T", TimeFormat())},
      {"duration", DurationFormat()},
      {"uuid", UuidFormat("[0-9a-f]")},
      {"ipv4", Ipv4Format()},
      {"ipv6", Ipv6Format()},
      {"email", EmailFormat()},
      {"hostname", HostFormat()},
      {"byte", Base64Format()},
      {"json-pointer", JsonPointerFormat()},
      {"relative-json-pointer", absl::StrCat("(0|[1-9][0-9]{0,3})(#|", JsonPointerFormat(), ")")},
      {"regex", "[A-Za-z0-9 _]*"},
      {"idn-email", EmailFormat()},
      {"idn-hostname", HostFormat()},
  };
  std::string content;
  const auto found = formats.find(format);
  if (found != formats.end()) {
    content = found->second;
  } else if (std::ranges::count(kUriFormats, format) > 0) {
    content = UriFormat(max_length);
  } else if (format.size() == 5 && format.starts_with("uuid") && format[4] >= '1' &&
             format[4] <= '8') {
    content = UuidFormat(format.substr(4));
  } else {
    return std::nullopt;
  }
  return absl::StrCat("^(", content, ")$");
}

}  // namespace whipsnake::engine
