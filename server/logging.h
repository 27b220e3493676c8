// The log: one line an event on stderr, for people or as JSON. Prompts and outputs are never
// logged.
#ifndef WHIPSNAKE_SERVER_LOGGING_H_
#define WHIPSNAKE_SERVER_LOGGING_H_

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
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

// As Log, for lines that clients can cause at will: of each message a LineLimiter admits some. The
// next one that it admits has the field "left_out", the number of those that it did not. `message`
// is one of a fixed set: what differs from line to line belongs into the fields. Thread-safe.
void LogLimited(LogLevel level, std::string_view message,
                std::initializer_list<LogField> fields = {});

// Decides which lines are written: of each message kBurst at once, then one each kInterval. Not
// thread-safe.
class LineLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kBurst = 20;
  static constexpr std::chrono::seconds kInterval{1};

  // How many lines of this message were left out since the last one that was admitted, or nullopt
  // where this one is left out too. Times do not fall from call to call.
  std::optional<int64_t> Admit(std::string_view message, Clock::time_point now);

 private:
  struct Message {
    Clock::time_point full;  // when kBurst lines may be written at once again
    int64_t left_out = 0;
  };
  std::map<std::string, Message, std::less<>> messages_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_LOGGING_H_
