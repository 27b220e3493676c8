#include "server/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

constexpr char kDetailsPayload[] = "whipsnake/error-details-json";

Json ErrorDetails(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kDetailsPayload)) {
    return Json::parse(std::string(*payload));
  }
  Json details = Json::object();
  if (const std::string field = engine::FieldOf(status); !field.empty()) details["field"] = field;
  return details;
}

// Numbers, with or without a unit, start with a digit or a sign; "-" alone means a missing number.
bool LooksNumeric(const std::string& cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell[0])) || cell[0] == '-');
}

}  // namespace

void Output::Object(const Json& object) const {
  std::cout << object.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
}

void Output::Error(const absl::Status& status) const {
  if (!json_) {
    std::cerr << "error: " << status.message() << "\n";
    return;
  }
  Object({{"error",
           {{"code", absl::StatusCodeToString(status.code())},
            {"message", std::string(status.message())},
            {"details", ErrorDetails(status)}}}});
}

void SetErrorDetails(absl::Status& status, const Json& details) {
  status.SetPayload(kDetailsPayload,
                    absl::Cord(details.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  const size_t columns = rows.front().size();
  std::vector<size_t> width(columns, 0);
  std::vector<bool> numeric(columns, rows.size() > 1);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns; ++c) {
      width[c] = std::max(width[c], rows[r][c].size());
      if (r > 0 && !LooksNumeric(rows[r][c])) numeric[c] = false;
    }
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t c = 0; c < columns; ++c) {
      const std::string padding(width[c] - row[c].size(), ' ');
      line += numeric[c] ? padding + row[c] : row[c] + padding;
      if (c + 1 < columns) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string Mebibytes(int64_t bytes) {
  return absl::StrFormat("%.1f", std::ceil(static_cast<double>(bytes) / (1 << 20) * 10) / 10);
}

bool StderrIsTerminal() {
  const char* const kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 &&
         (kind == nullptr || (*kind != 0 && std::string_view(kind) != "dumb"));
}

std::string Dim(std::string_view text) {
  const char* const no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != 0) return std::string(text);
  return "\033[2m" + std::string(text) + "\033[0m";
}

}  // namespace whipsnake::server
