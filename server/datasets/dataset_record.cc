#include "server/datasets/dataset_record.h"

#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "server/datasets/dataset_header.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr int64_t kVersion = 1;

json ToJson(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  // The messages have only well-formed text, so this does not fail.
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  return json::parse(text);
}

absl::Status ReadMessage(const engine::JsonView& view, google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (google::protobuf::util::JsonStringToMessage(view.value().dump(), message, options).ok()) {
    return absl::OkStatus();
  }
  return view.Invalid(message->GetDescriptor()->full_name());
}

absl::StatusOr<DatasetRecord> Read(std::string_view text) {
  ASSIGN_OR_RETURN(const json document, engine::ParseJsonObject(text));
  engine::JsonObjectReader reader(document);
  DatasetRecord record;
  reader.Integer("version", 0, kVersion, kVersion);
  RETURN_IF_ERROR(ReadMessage(reader["header"], &record.header));
  record.model = reader.Text("model", "");
  if (!v1::DatasetState_Parse(reader.Text("state", ""), &record.state)) {
    reader.Reject("state", "a state of a data set");
  }
  record.error = reader.Text("error", "");
  record.out_of_memory = reader.Boolean("out_of_memory", false);
  if (reader.Has("ready_time_ms")) {
    record.ready_time = WallTime(milliseconds(
        reader.Integer("ready_time_ms", 0, 0, std::numeric_limits<int64_t>::max() / 1'000'000)));
  }
  if (reader.Has("report")) {
    RETURN_IF_ERROR(ReadMessage(reader["report"], &record.report.emplace()));
  }
  RETURN_IF_ERROR(reader.status());
  RETURN_IF_ERROR(CheckHeader(record.header));
  return record;
}

}  // namespace

std::string ToJson(const DatasetRecord& record) {
  json document = {{"version", kVersion},
                   {"header", ToJson(record.header)},
                   {"model", record.model},
                   {"state", v1::DatasetState_Name(record.state)},
                   {"error", record.error}};
  if (record.ready_time) {
    document["ready_time_ms"] =
        std::chrono::duration_cast<milliseconds>(record.ready_time->time_since_epoch()).count();
  }
  if (record.out_of_memory) document["out_of_memory"] = true;
  if (record.report) document["report"] = ToJson(*record.report);
  return document.dump();
}

absl::StatusOr<DatasetRecord> ParseDatasetRecord(std::string_view text) {
  absl::StatusOr<DatasetRecord> record = Read(text);
  if (!record.ok()) return engine::WithCode(record.status(), absl::StatusCode::kDataLoss);
  return record;
}

}  // namespace whipsnake::server
