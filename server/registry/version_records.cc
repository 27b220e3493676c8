#include "server/registry/version_records.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "server/registry/model_name.h"
#include "server/registry/version_files.h"

namespace whipsnake::server {
namespace {

using std::chrono::milliseconds;
using Json = nlohmann::json;

constexpr int64_t kMaxTime = int64_t{1} << 52;  // in milliseconds

absl::StatusOr<Json> ParseRecord(std::string_view text) {
  absl::StatusOr<Json> json = engine::ParseJsonObject(text);
  if (!json.ok()) return engine::WithCode(json.status(), absl::StatusCode::kDataLoss);
  return json;
}

absl::Status AsDataLoss(const absl::Status& status) {
  return status.ok() ? status : engine::WithCode(status, absl::StatusCode::kDataLoss);
}

absl::StatusOr<Served> ParseServed(const engine::JsonView& view) {
  ASSIGN_OR_RETURN(const int64_t version, view["version"].Integer(0, kMaxVersion));
  ASSIGN_OR_RETURN(const int64_t time, view["time_ms"].Integer(0, kMaxTime));
  return Served{version, WallTime(milliseconds(time))};
}

absl::Status ParseAliases(const Json& aliases, NameRecord& record) {
  if (!aliases.is_object()) return engine::JsonView(&aliases, "aliases").Invalid("an object");
  for (const auto& [alias, version] : aliases.items()) {
    ASSIGN_OR_RETURN(record.aliases[alias],
                     engine::JsonView(&version, "aliases." + alias).Integer(1, kMaxVersion));
  }
  return absl::OkStatus();
}

absl::Status Parse(const engine::JsonView& view, NameRecord& record) {
  ASSIGN_OR_RETURN(record.last_version, view["last_version"].Integer(0, kMaxVersion));
  RETURN_IF_ERROR(ParseAliases(view["aliases"].value(), record));
  ASSIGN_OR_RETURN(const std::vector<engine::JsonView> history, view["history"].Elements());
  for (const engine::JsonView& served : history) {
    ASSIGN_OR_RETURN(record.history.emplace_back(), ParseServed(served));
  }
  const engine::JsonView base = view["base"];
  if (base.is_null()) return absl::OkStatus();
  engine::JsonObjectReader reader(base);
  record.base = ClientModel{.path = reader.Text("path", ""),
                            .scheme = reader.Text("scheme", ""),
                            .state_type = reader.Text("state_type", "")};
  return reader.status();
}

}  // namespace

std::optional<int64_t> NameRecord::serving() const {
  if (history.empty()) return std::nullopt;
  return history.back().version;
}

void NameRecord::Serve(int64_t version, WallTime time) {
  if (serving() == version) return;
  history.push_back({version, std::chrono::floor<milliseconds>(time)});
  if (history.size() > kMaxHistory) history.erase(history.begin());
}

bool NameRecord::Uses(int64_t version) const {
  return serving() == version ||
         std::ranges::any_of(aliases, [&](const auto& alias) { return alias.second == version; });
}

std::string ToJson(const VersionRecord& record) {
  return Json{{"directory", record.directory},
              {"scheme", record.scheme},
              {"state_type", record.state_type},
              {"source_job", record.source_job},
              {"checkpoint_step", record.checkpoint_step}}
      .dump();
}

std::string ToJson(const NameRecord& record) {
  Json json = {{"last_version", record.last_version},
               {"aliases", record.aliases},
               {"history", Json::array()}};
  for (const Served& served : record.history) {
    const int64_t time = std::chrono::floor<milliseconds>(served.time.time_since_epoch()).count();
    json["history"].push_back({{"version", served.version}, {"time_ms", time}});
  }
  if (record.base) {
    json["base"] = {{"path", record.base->path},
                    {"scheme", record.base->scheme},
                    {"state_type", record.base->state_type}};
  }
  return json.dump();
}

absl::StatusOr<VersionRecord> ParseVersionRecord(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseRecord(text));
  engine::JsonObjectReader reader(json);
  VersionRecord record{
      .directory = reader.Text("directory", ""),
      .scheme = reader.Text("scheme", ""),
      .state_type = reader.Text("state_type", ""),
      .source_job = reader.Text("source_job", ""),
      .checkpoint_step = reader.Integer("checkpoint_step", 0, 0, int64_t{1} << 52)};
  if (!IsVersionDirectory(record.directory)) reader.Reject("directory", "that of a version");
  RETURN_IF_ERROR(AsDataLoss(reader.status()));
  return record;
}

absl::StatusOr<NameRecord> ParseNameRecord(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseRecord(text));
  NameRecord record;
  RETURN_IF_ERROR(AsDataLoss(Parse(engine::JsonView(&json), record)));
  return record;
}

}  // namespace whipsnake::server
