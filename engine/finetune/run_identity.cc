#include "engine/finetune/run_identity.h"

#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/json.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

std::string ValueText(const json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() ? "nothing" : found->dump();
}

}  // namespace

absl::StatusOr<json> ToJson(const RunIdentity& identity) {
  auto object = ParseJsonObject(identity.settings);
  if (!object.ok()) return WithContext(object.status(), "settings");
  (*object)["training_data"] = identity.training_data;
  (*object)["evaluation_data"] = identity.evaluation_data;
  (*object)["model"] = identity.model;
  (*object)["labels"] = identity.labels;
  return object;
}

absl::Status CheckSameRun(const json& saved, const json& now) {
  std::set<std::string> keys;
  for (const json* object : {&saved, &now}) {
    for (const auto& [key, value] : object->items()) keys.insert(key);
  }
  std::string differences;
  for (const std::string& key : keys) {
    const std::string before = ValueText(saved, key), after = ValueText(now, key);
    if (before == after) continue;
    absl::StrAppend(&differences, differences.empty() ? "" : "; ", key, ": ", before,
                    " in the checkpoint, ", after, " now");
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(differences);
}

}  // namespace whipsnake::engine
