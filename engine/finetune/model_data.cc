#include "engine/finetune/model_data.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/models/config.h"

namespace whipsnake::engine {
namespace {

absl::StatusOr<Labels> ParseLabels(std::string_view config) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJsonObject(config));
  return ReadLabels(document);
}

absl::StatusOr<Labels> NumberedLabels(int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(absl::StrCat("LABEL_", i));
  return Labels::Make(std::move(names));
}

}  // namespace

absl::StatusOr<Labels> ReadModelLabels(const std::string& directory, int64_t count) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const std::string config, ReadTextFile(path));
  const absl::StatusOr<Labels> labels = ParseLabels(config);
  if (!labels.ok()) return WithPath(labels.status(), path);
  if (labels->empty()) return NumberedLabels(count);
  if (labels->size() == count) return labels;
  return WithPath(InvalidField("id2label", absl::StrCat(labels->size(), " labels"),
                               absl::StrCat("as many as the model has: ", count)),
                  path);
}

absl::StatusOr<int32_t> ReadEndOfText(const std::string& directory) {
  const std::string path = directory + "/generation_config.json";
  std::vector<int32_t> ids;
  if (const auto text = ReadTextFile(path); text.ok()) {
    auto defaults = ParseGenerationConfig(*text);
    if (!defaults.ok()) return WithPath(defaults.status(), path);
    ids = std::move(defaults->eos_token_ids);
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  if (ids.empty()) {
    ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
    ids = std::move(config.eos_token_ids);
  }
  return ids.empty() ? -1 : ids.front();
}

}  // namespace whipsnake::engine
