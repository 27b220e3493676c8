// The log: one line an event on stderr, for people or as JSON. Prompts and outputs are never
// logged.
#ifndef WHIPSNAKE_SERVER_LOGGING_H_
#define WHIPSNAKE_SERVER_LOGGING_H_

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace whipsnake::server {

enum class LogFormat { kText, kJson };
enum class LogLevel { kInfo, kWarning, kError };

// Call once, before other threads log. Without it the format is text.
void InitLogging(LogFormat format);

using LogField = std::pair<std::string_view, nlohmann::ordered_json>;

// As text: "2026-01-31 12:00:00.000 info message key=value key=value", strings quoted where they
// hold more than letters, digits and the like, so that an event stays on its line. As JSON: an
// object with "time", "level", "message" and the fields. Thread-safe.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_LOGGING_H_
