#include "engine/models/config.h"

#include <nlohmann/json.hpp>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

// "mamba" or "gpt2", quoted; with commas between more than two.
std::string FamilyNames() {
  std::string names;
  const std::span<const Family* const> families = Families();
  for (size_t i = 0; i < families.size(); ++i) {
    const char* const separator = i == 0 ? "" : i + 1 < families.size() ? ", " : " or ";
    absl::StrAppend(&names, separator, Quoted(families[i]->name));
  }
  return names;
}

}  // namespace

absl::StatusOr<std::string> ReadArchitecture(JsonObjectReader& reader) {
  if (!reader.Has("model_type") && !reader.Has("d_model")) {
    reader.Reject("model_type",
                  "an architecture such as \"mamba\" (or d_model, in the original form)");
  }
  std::string architecture = reader.Text("model_type", "mamba");
  RETURN_IF_ERROR(reader.status());
  return architecture;
}

absl::Status CheckArchitecture(JsonObjectReader& reader, std::string_view expected) {
  ASSIGN_OR_RETURN(const std::string architecture, ReadArchitecture(reader));
  if (architecture == expected) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("model_type: ", Quoted(architecture), " seen, expected ", Quoted(expected)));
}

int64_t ReadLabels(JsonObjectReader& reader, std::string_view classifier) {
  constexpr int64_t kMaxLabels = int64_t{1} << 16;
  if (!reader["architectures"].ListContains(classifier)) return 0;
  if (reader.Has("num_labels")) return reader.Integer("num_labels", 2, 1, kMaxLabels);
  const auto named = static_cast<int64_t>(reader.Object("id2label").value().size());
  return named > 0 ? named : 2;  // transformers' default
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParsePythonJsonObject(text));
  JsonObjectReader reader(document);
  ASSIGN_OR_RETURN(const std::string architecture, ReadArchitecture(reader));
  for (const Family* family : Families()) {
    if (architecture == family->name) return family->parse_config(text);
  }
  return absl::UnimplementedError(
      absl::StrCat("model_type: ", Quoted(architecture), " seen, expected ", FamilyNames()));
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  auto config = ParseModelConfig(text);
  if (!config.ok()) return WithPath(config.status(), path);
  return config;
}

}  // namespace whipsnake::engine
