// The log: one line per event on stderr, as text or as JSON. Prompts and outputs are never logged.
#ifndef WHIPSNAKE_SERVER_LOGGING_H_
#define WHIPSNAKE_SERVER_LOGGING_H_

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace whipsnake::server {

enum class LogFormat { kText, kJson };
// In rising order of severity.
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// "debug", "info", "warning", "error"
std::string_view Name(LogLevel level);

// Call at most once, before other threads log. The default format is text.
void InitLogging(LogFormat format);
// Lines below this level are not written from now on. The default is kInfo. Thread-safe.
void SetLogLevel(LogLevel level);

// A key and its value.
using LogField = std::pair<std::string_view, std::variant<std::string, int64_t, double>>;
using LogFields = std::vector<LogField>;

// Text format: "2026-01-31T12:00:00.000Z info message key=value key=value". A string that contains
// more than letters, digits and a few punctuation characters is quoted, so that an event stays on
// one line. JSON format: an object with "time", "level", "message" and the fields. The time is UTC
// (RFC 3339) in both. Thread-safe.
void Log(LogLevel level, std::string_view message, const LogFields& fields = {});

// Like Log, for lines that clients can cause at will: a LineLimiter limits the lines of each
// message, and of each `kind` of it. The next admitted line has the field "left_out", the number of
// lines that were dropped before it. `message` and `kind` must be of fixed sets; variable data
// belongs in the fields. Thread-safe.
void LogLimited(LogLevel level, std::string_view message, LogFields fields = {},
                std::string_view kind = {});

// How many lines the process has written, and how many LogLimited has dropped. Lock-free.
int64_t LogLines(LogLevel level);
int64_t LogLinesDropped();

// Limits the lines of each message: kBurst at once, then one every kInterval. Not thread-safe.
class LineLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kBurst = 20;
  static constexpr std::chrono::seconds kInterval{1};

  // Returns how many lines of this message were dropped since the last admitted one, or nullopt if
  // this line is dropped too. `now` must not decrease from call to call.
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
