#include "engine/models/mamba/mamba_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/checkpoint/token_ids.h"
#include "engine/models/architecture.h"

namespace whipsnake::engine {
namespace {

// Limits far above any published model. Together they keep all element counts below 2^63.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 16;  // d and R
constexpr int64_t kMaxInnerWidth = int64_t{1} << 18;
constexpr int64_t kMaxState = 1024;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxTaps = 8;  // limit of the convolution kernels
constexpr int64_t kMaxExpand = 64;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// R is an integer or "auto", which is the default and means d / 16, rounded up.
int64_t ReadTimeStepRank(JsonObjectReader& reader, const char* key, int64_t hidden_size) {
  const int64_t automatic = (hidden_size + 15) / 16;
  if (reader[key].IsText("auto")) return automatic;
  return reader.Integer(key, automatic, 1, kMaxWidth);
}

// Checks E if it is computed from `expand`: both factors are within their limits, but the product
// may not be.
void CheckInnerWidth(JsonObjectReader& reader, const MambaConfig& config) {
  if (config.intermediate_size > kMaxInnerWidth) {
    reader.Reject("expand", absl::StrCat("a product with hidden_size = ", config.hidden_size,
                                         " of at most ", kMaxInnerWidth));
  }
}

// The two forms differ only in the names of these keys.
void ReadTimeSteps(JsonObjectReader& reader, const char* minimum, const char* maximum,
                   const char* floor, const char* scale, MambaConfig::Initialization& result) {
  result.time_step_min = reader.Number(minimum, result.time_step_min, 0, 1e3, true);
  result.time_step_max = reader.Number(maximum, result.time_step_max, 0, 1e3, true);
  if (result.time_step_max < result.time_step_min) {
    reader.Reject(maximum, absl::StrCat("at least ", minimum, " = ", result.time_step_min));
  }
  result.time_step_floor = reader.Number(floor, result.time_step_floor, 0, 1e3, true);
  result.time_step_scale = reader.Number(scale, result.time_step_scale, 0, 1e3);
}

// Published Hugging Face configs have leftovers of the original form (d_model, ssm_cfg, ...), which
// are ignored.
MambaConfig ReadHuggingFaceForm(JsonObjectReader& reader) {
  MambaConfig config;
  config.vocab_size = reader.Integer("vocab_size", 50280, 1, kMaxVocabulary);
  config.unpadded_vocab_size = config.vocab_size;
  config.hidden_size = reader.Integer("hidden_size", 768, 1, kMaxWidth);
  const int64_t expand = reader.Integer("expand", 2, 1, kMaxExpand);
  config.intermediate_size =
      reader.Integer("intermediate_size", expand * config.hidden_size, 1, kMaxInnerWidth);
  if (reader.Has("expand") && config.intermediate_size != expand * config.hidden_size) {
    reader.Reject("intermediate_size",
                  absl::StrCat("expand * hidden_size = ", expand * config.hidden_size));
  }
  CheckInnerWidth(reader, config);
  config.state_size = reader.Integer("state_size", 16, 1, kMaxState);
  config.layers = reader.Integer("num_hidden_layers", 32, 1, kMaxLayers);
  config.conv_kernel = reader.Integer("conv_kernel", 4, 1, kMaxTaps);
  config.time_step_rank = ReadTimeStepRank(reader, "time_step_rank", config.hidden_size);
  config.norm_epsilon = reader.Number("layer_norm_epsilon", 1e-5, 0, 1);
  config.use_bias = reader.Boolean("use_bias", false);
  config.use_conv_bias = reader.Boolean("use_conv_bias", true);
  config.tie_embeddings = reader.Boolean("tie_word_embeddings", true);
  config.labels = ReadLabels(reader, "MambaForSequenceClassification");
  config.eos_token_ids = ReadTokenIds(reader, "eos_token_id", {0});
  if (reader.Text("hidden_act", "silu") != "silu") reader.Reject("hidden_act", "\"silu\"");

  MambaConfig::Initialization& initialization = config.initialization;
  initialization.embedding_deviation = reader.Number("initializer_range", 0.1, 0, 1e3);
  initialization.rescale_out_proj = reader.Boolean("rescale_prenorm_residual", false);
  ReadTimeSteps(reader, "time_step_min", "time_step_max", "time_step_floor", "time_step_scale",
                initialization);
  return config;
}

absl::StatusOr<MambaConfig> ReadOriginalForm(JsonObjectReader& reader) {
  MambaConfig config;
  config.original_form = true;
  config.unpadded_vocab_size = reader.Integer("vocab_size", 50277, 1, kMaxVocabulary);
  const int64_t multiple = reader.Integer("pad_vocab_size_multiple", 8, 1, kMaxVocabulary);
  config.vocab_size = RoundUp(config.unpadded_vocab_size, multiple);
  config.hidden_size = reader.Integer("d_model", 2560, 1, kMaxWidth);
  config.layers = reader.Integer("n_layer", 64, 1, kMaxLayers);
  config.tie_embeddings = reader.Boolean("tie_embeddings", true);
  config.eos_token_ids = {0};  // <|endoftext|> of the GPT-NeoX tokenizer, which this form implies

  JsonObjectReader ssm(reader.Object("ssm_cfg"));
  if (ssm.Text("layer", "Mamba1") != "Mamba1") {
    ssm.Reject("layer", "\"Mamba1\"");
    return absl::UnimplementedError(ssm.status().message());
  }
  config.intermediate_size = ssm.Integer("expand", 2, 1, kMaxExpand) * config.hidden_size;
  CheckInnerWidth(ssm, config);
  config.state_size = ssm.Integer("d_state", 16, 1, kMaxState);
  config.conv_kernel = ssm.Integer("d_conv", 4, 1, kMaxTaps);
  config.time_step_rank = ReadTimeStepRank(ssm, "dt_rank", config.hidden_size);
  config.use_bias = ssm.Boolean("bias", false);
  config.use_conv_bias = ssm.Boolean("conv_bias", true);
  config.initialization.embedding_deviation = 0.02;
  config.initialization.rescale_out_proj = true;
  ReadTimeSteps(ssm, "dt_min", "dt_max", "dt_init_floor", "dt_scale", config.initialization);
  RETURN_IF_ERROR(reader.status());
  RETURN_IF_ERROR(ssm.status());

  // Reject blocks that are not Mamba's.
  if (const size_t count = reader.Count("attn_layer_idx"); count != 0) {
    return absl::UnimplementedError(
        absl::StrCat("attn_layer_idx: ", count, " attention layers seen, expected none"));
  }
  if (const int64_t width = reader.Integer("d_intermediate", 0, 0, kMaxInnerWidth); width != 0) {
    return absl::UnimplementedError(
        absl::StrCat("d_intermediate: ", width, " seen, expected 0, no feed-forward layers"));
  }
  return config;
}

absl::StatusOr<QuantizationConfig> ReadQuantization(const JsonView& object) {
  JsonObjectReader reader(object);
  if (reader.Text("quant_method", "") != "quamba") reader.Reject("quant_method", "\"quamba\"");
  reader.Integer("version", 0, kQuantizationVersion, kQuantizationVersion);
  if (!reader.Has("version")) reader.Reject("version", absl::StrCat(kQuantizationVersion));
  reader.Integer("bits", 8, 8, 8);
  QuantizationConfig config;
  const absl::StatusOr<Scheme> scheme = ParseScheme(reader.Text("scheme", ""));
  if (!scheme.ok() || std::ranges::find(kMambaSchemes, *scheme) == std::end(kMambaSchemes)) {
    reader.Reject("scheme", SchemeNames(kMambaSchemes));
  } else {
    config.scheme = *scheme;
  }
  if (!reader.Has("output_rotation")) reader.Reject("output_rotation", "true or false");
  config.output_rotation = reader.Boolean("output_rotation", false);
  config.head_bits = reader.Integer("head_bits", 8, 8, 16);
  if (config.head_bits != 8 && config.head_bits != 16) reader.Reject("head_bits", "8 or 16");
  RETURN_IF_ERROR(reader.status());
  return config;
}

}  // namespace

absl::StatusOr<MambaConfig> ParseMambaConfig(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParsePythonJsonObject(text));
  JsonObjectReader reader(document);
  RETURN_IF_ERROR(CheckArchitecture(reader, "mamba"));
  if (!reader.Boolean("rms_norm", true)) reader.Reject("rms_norm", "true");
  RETURN_IF_ERROR(reader.status());
  const bool original = !reader.Has("model_type") && !reader.Has("hidden_size");
  absl::StatusOr<MambaConfig> config =
      original ? ReadOriginalForm(reader) : ReadHuggingFaceForm(reader);
  if (!config.ok()) return config;
  const JsonView quantization = reader.Object("quantization_config");
  RETURN_IF_ERROR(reader.status());
  if (reader.Has("quantization_config")) {
    ASSIGN_OR_RETURN(config->quantization, ReadQuantization(quantization));
  }
  return config;
}

}  // namespace whipsnake::engine
