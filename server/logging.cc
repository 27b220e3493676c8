#include "server/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/mutex.h"

namespace whipsnake::server {
namespace {

constexpr int kLogLevels = 4;

LogFormat g_format = LogFormat::kText;
std::array<std::atomic<int64_t>, kLogLevels> g_lines;  // by LogLevel
std::atomic<int64_t> g_lines_dropped = 0;
std::atomic<LogLevel> g_level = LogLevel::kInfo;

std::shared_ptr<spdlog::logger> MakeLogger(LogFormat format) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("whipsnake", std::move(sink));
  // %v is the JSON object's other members, without the outer braces.
  logger->set_pattern(format == LogFormat::kJson
                          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                          : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                      spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::debug);  // the level in force is g_level
  logger->flush_on(spdlog::level::debug);
  return logger;
}

std::shared_ptr<spdlog::logger>& Logger() {
  static auto& logger = *new std::shared_ptr<spdlog::logger>(MakeLogger(LogFormat::kText));
  return logger;
}

using Json = nlohmann::ordered_json;

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool IsPlain(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("-_./:,+").find(c) != std::string_view::npos;
  });
}

Json ToJson(const LogField& field) {
  return std::visit([](const auto& value) { return Json(value); }, field.second);
}

std::string TextLine(std::string_view message, const LogFields& fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line += " " + std::string(field.first) + "=";
    const std::string* const text = std::get_if<std::string>(&field.second);
    line += text && IsPlain(*text) ? *text : Dump(ToJson(field));
  }
  return line;
}

std::string JsonMembers(std::string_view message, const LogFields& fields) {
  Json object = {{"message", std::string(message)}};
  for (const LogField& field : fields) object[std::string(field.first)] = ToJson(field);
  const std::string text = Dump(object);
  return text.substr(1, text.size() - 2);
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

bool IsWritten(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void WriteEvent(LogLevel level, std::string_view message, const LogFields& fields) {
  const std::string line =
      g_format == LogFormat::kJson ? JsonMembers(message, fields) : TextLine(message, fields);
  ++g_lines[static_cast<size_t>(level)];
  // Pass the text as an argument, not as the format, because it may contain braces.
  Logger()->log(ToSpdlog(level), "{}", line);
}

std::optional<int64_t> AdmitLine(std::string_view message) {
  static engine::Mutex mutex;
  static auto& limiter = *new LineLimiter;  // guarded by mutex
  engine::MutexLock lock(mutex);
  return limiter.Admit(message, LineLimiter::Clock::now());
}

}  // namespace

std::string_view Name(LogLevel level) {
  const spdlog::string_view_t name = spdlog::level::to_string_view(ToSpdlog(level));
  return {name.data(), name.size()};
}

void InitLogging(LogFormat format) {
  g_format = format;
  Logger() = MakeLogger(format);
}

void SetLogLevel(LogLevel level) { g_level = level; }

void Log(LogLevel level, std::string_view message, const LogFields& fields) {
  if (IsWritten(level)) WriteEvent(level, message, fields);
}

void LogLimited(LogLevel level, std::string_view message, LogFields fields, std::string_view kind) {
  if (!IsWritten(level)) return;
  const std::optional<int64_t> left_out =
      kind.empty() ? AdmitLine(message) : AdmitLine(std::string(message).append(": ").append(kind));
  if (!left_out) {
    ++g_lines_dropped;
    return;
  }
  if (*left_out > 0) fields.emplace_back("left_out", *left_out);
  WriteEvent(level, message, fields);
}

int64_t LogLines(LogLevel level) { return g_lines[static_cast<size_t>(level)]; }
int64_t LogLinesDropped() { return g_lines_dropped; }

std::optional<int64_t> LineLimiter::Admit(std::string_view message, Clock::time_point now) {
  auto found = messages_.find(message);
  if (found == messages_.end()) found = messages_.emplace(message, Message{}).first;
  Message& seen = found->second;
  const Clock::time_point full = std::max(seen.full, now) + kInterval;
  if (full > now + kBurst * kInterval) {
    ++seen.left_out;
    return std::nullopt;
  }
  seen.full = full;
  return std::exchange(seen.left_out, 0);
}

}  // namespace whipsnake::server
