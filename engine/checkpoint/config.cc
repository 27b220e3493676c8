#include "engine/checkpoint/config.h"

#include "engine/base/status.h"
#include "engine/checkpoint/architecture.h"
#include "engine/checkpoint/files.h"
#include "engine/checkpoint/json.h"

namespace whipsnake::engine {

absl::StatusOr<std::string> ReadArchitecture(JsonObjectReader& reader) {
  if (!reader.Has("model_type") && !reader.Has("d_model")) {
    reader.Refuse("model_type",
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

int64_t ModelConfig::parameters() const {
  return std::visit([](const auto& config) { return config.parameters(); }, architecture);
}

int64_t ModelConfig::tokenizer_size() const {
  if (const auto* mamba = std::get_if<MambaConfig>(&architecture)) {
    return mamba->unpadded_vocab_size;
  }
  return std::get<Gpt2Config>(architecture).vocab_size;
}

const std::vector<int32_t>& ModelConfig::eos_token_ids() const {
  return std::visit(
      [](const auto& config) -> const auto& { return config.eos_token_ids; }, architecture);
}

std::optional<Scheme> ModelConfig::quantized() const {
  if (const auto* mamba = std::get_if<MambaConfig>(&architecture)) {
    if (mamba->quantization) return mamba->quantization->scheme;
  } else if (std::get<Gpt2Config>(architecture).quantization) {
    return Scheme::kW8A8;
  }
  return std::nullopt;
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJsonObject(text));
  JsonObjectReader reader(document);
  ASSIGN_OR_RETURN(const std::string architecture, ReadArchitecture(reader));
  if (architecture == "mamba") {
    ASSIGN_OR_RETURN(MambaConfig config, ParseMambaConfig(text));
    return ModelConfig{std::move(config)};
  }
  if (architecture == "gpt2") {
    ASSIGN_OR_RETURN(Gpt2Config config, ParseGpt2Config(text));
    return ModelConfig{std::move(config)};
  }
  return absl::UnimplementedError(
      absl::StrCat("model_type: ", Quoted(architecture), " seen, expected \"mamba\" or \"gpt2\""));
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  auto config = ParseModelConfig(text);
  if (!config.ok()) return WithPath(config.status(), path);
  return config;
}

}  // namespace whipsnake::engine
