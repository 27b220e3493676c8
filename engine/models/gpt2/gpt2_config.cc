#include "engine/models/gpt2/gpt2_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/scheme.h"
#include "engine/base/status.h"
#include "engine/checkpoint/token_ids.h"
#include "engine/models/architecture.h"
#include "engine/models/gpt2/gpt2_names.h"

namespace whipsnake::engine {
namespace {

using kernels::Activation;

// Limits far above any published model. Together they keep all element counts below 2^63.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 20;
constexpr int64_t kMaxWidth = int64_t{1} << 16;
constexpr int64_t kMaxInnerWidth = int64_t{1} << 18;
constexpr int64_t kMaxLayers = 4096;

Activation ReadActivation(JsonObjectReader& reader) {
  const auto activation = ParseActivation(reader.Text("activation_function", "gelu_new"));
  if (!activation) reader.Reject("activation_function", ActivationNames());
  return activation.value_or(Activation::kGeluNew);
}

// Up to 0.99, because the kept elements are divided by 1 - p.
float ReadDropout(JsonObjectReader& reader, const char* key) {
  return static_cast<float>(reader.Number(key, 0.1, 0, 0.99));
}

absl::StatusOr<TransformerQuantization> ReadQuantization(const JsonView& object) {
  JsonObjectReader reader(object);
  const std::string scheme(Name(Scheme::kW8A8));
  if (reader.Text("quant_method", "") != scheme) reader.Reject("quant_method", Quoted(scheme));
  if (reader.Text("scheme", scheme) != scheme) reader.Reject("scheme", Quoted(scheme));
  reader.Integer("version", 0, kQuantizationVersion, kQuantizationVersion);
  if (!reader.Has("version")) reader.Reject("version", absl::StrCat(kQuantizationVersion));
  reader.Integer("bits", 8, 8, 8);
  TransformerQuantization config;
  const std::string activations = reader.Text("activations", "");
  if (activations != "static" && activations != "dynamic") {
    reader.Reject("activations", "\"static\" or \"dynamic\"");
  }
  config.static_activations = activations == "static";
  config.head_bits = reader.Integer("head_bits", 8, 8, 16);
  if (config.head_bits != 8 && config.head_bits != 16) reader.Reject("head_bits", "8 or 16");
  RETURN_IF_ERROR(reader.status());
  return config;
}

Gpt2Config ReadConfig(JsonObjectReader& reader) {
  Gpt2Config config;
  config.vocab_size = reader.Integer("vocab_size", 50257, 1, kMaxVocabulary);
  config.positions = reader.Integer("n_positions", 1024, 1, kMaxPositions);
  config.hidden_size = reader.Integer("n_embd", 768, 1, kMaxWidth);
  config.layers = reader.Integer("n_layer", 12, 1, kMaxLayers);
  config.heads = reader.Integer("n_head", 12, 1, kMaxWidth);
  if (reader.status().ok() && config.hidden_size % config.heads != 0) {
    reader.Reject("n_head", absl::StrCat("a divisor of n_embd = ", config.hidden_size));
  }
  config.inner_size = reader.Integer("n_inner", 4 * config.hidden_size, 1, kMaxInnerWidth);
  config.activation = ReadActivation(reader);
  if (reader.Has("crrelu_epsilon_init") && config.activation == Activation::kCRRelu) {
    config.crrelu_epsilon_init =
        static_cast<float>(reader.Number("crrelu_epsilon_init", 0, -1e6, 1e6));
  }
  config.norm_epsilon = static_cast<float>(reader.Number("layer_norm_epsilon", 1e-5, 0, 1));
  config.scale_attention = reader.Boolean("scale_attn_weights", true);
  config.scale_by_inverse_layer = reader.Boolean("scale_attn_by_inverse_layer_idx", false);
  config.tie_embeddings = reader.Boolean("tie_word_embeddings", true);
  if (reader.Boolean("add_cross_attention", false)) {
    reader.Reject("add_cross_attention", "false");
  }
  config.labels = ReadLabels(reader, "GPT2ForSequenceClassification");
  config.embedding_dropout = ReadDropout(reader, "embd_pdrop");
  config.attention_dropout = ReadDropout(reader, "attn_pdrop");
  config.residual_dropout = ReadDropout(reader, "resid_pdrop");
  config.eos_token_ids = ReadTokenIds(reader, "eos_token_id", {50256});
  config.initializer_deviation = reader.Number("initializer_range", 0.02, 0, 1e3);
  return config;
}

}  // namespace

TransformerBlockConfig Gpt2Config::block(int64_t layer) const {
  double scale = scale_attention ? 1 / std::sqrt(static_cast<double>(head_dim())) : 1;
  if (scale_by_inverse_layer) scale /= static_cast<double>(layer + 1);
  return {.hidden_size = hidden_size,
          .inner_size = inner_size,
          .norm_epsilon = norm_epsilon,
          .attention_scale = static_cast<float>(scale),
          .activation = activation_config(),
          .names = Gpt2BlockNames(),
          .transposed_weights = true};
}

absl::StatusOr<Gpt2Config> ParseGpt2Config(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParsePythonJsonObject(text));
  JsonObjectReader reader(document);
  RETURN_IF_ERROR(CheckArchitecture(reader, "gpt2"));
  Gpt2Config config = ReadConfig(reader);
  const JsonView quantization = reader.Object("quantization_config");
  RETURN_IF_ERROR(reader.status());
  if (reader.Has("quantization_config")) {
    ASSIGN_OR_RETURN(config.quantization, ReadQuantization(quantization));
  }
  return config;
}

}  // namespace whipsnake::engine
