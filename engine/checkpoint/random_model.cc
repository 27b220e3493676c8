#include "engine/checkpoint/random_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/checkpoint/config.h"
#include "engine/checkpoint/files.h"
#include "engine/checkpoint/random_tokenizer.h"
#include "engine/checkpoint/safetensors.h"

namespace whipsnake::engine {
namespace {

// --- Random numbers ------------------------------------------------------------------------------
//
// A number is a function of (seed, tensor, position), so the order of drawing does not matter.

// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators).
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Randomness {
 public:
  Randomness(uint64_t seed, std::string_view name) {
    key_ = Mix(seed);
    for (const char c : name) key_ = Mix(key_ ^ static_cast<uint8_t>(c));
  }
  uint64_t Bits(int64_t counter) const {
    return Mix(key_ + static_cast<uint64_t>(counter) * 0x9e3779b97f4a7c15u);
  }

 private:
  uint64_t key_;
};

// --- Distributions -------------------------------------------------------------------------------
//
// Each one maps (randomness, position) to a float. One rounded product of exact numbers gives the
// same float on every machine, with or without fused multiply-adds. Where exp and log are used,
// they are computed in double, and their last bits hardly ever affect the float.

// Uniform on [-bound, bound).
auto Uniform(double bound) {
  return [scale = static_cast<float>(bound * 0x1p-23)](const Randomness& random, int64_t i) {
    return static_cast<float>(static_cast<int32_t>(random.Bits(i) >> 40) - (1 << 23)) * scale;
  };
}

// Approximately normal: the sum of twelve 16-bit numbers, whose standard deviation is 2^16.
auto Normal(double deviation) {
  return [scale = static_cast<float>(deviation * 0x1p-16)](const Randomness& random, int64_t i) {
    int32_t sum = -12 * 65535 / 2;
    for (int word = 0; word < 3; ++word) {
      const uint64_t bits = random.Bits(3 * i + word);
      sum += (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
    }
    return static_cast<float>(sum) * scale;
  };
}

auto Same(float value) {
  return [value](const Randomness&, int64_t) { return value; };
}

// A_log of A = -(1, 2, ..., N) in every channel: S4D's real initialization (Gu et al., arXiv
// 2206.11893).
auto LogOfStateIndex(int64_t state_size) {
  return [state_size](const Randomness&, int64_t i) {
    return static_cast<float>(std::log(static_cast<double>(i % state_size + 1)));
  };
}

// The inverse softplus of a time step that is log-uniform between the config's bounds, so that the
// time steps start there (Gu, Dao: Mamba, arXiv 2312.00752, section 3.6).
auto TimeStepBias(const MambaConfig::Initialization& initialization) {
  const double low = std::log(initialization.time_step_min);
  const double high = std::log(initialization.time_step_max);
  return [=, floor = initialization.time_step_floor](const Randomness& random, int64_t i) {
    const double share = static_cast<double>(random.Bits(i) >> 11) * 0x1p-53;
    const double step = std::max(std::exp(low + share * (high - low)), floor);
    return static_cast<float>(step + std::log(-std::expm1(-step)));
  };
}

// --- The tensors of a model ----------------------------------------------------------------------

class Tensors {
 public:
  Tensors(uint64_t seed, int64_t total_bytes, const std::function<void(double)>& progress)
      : seed_(seed), total_bytes_(total_bytes), progress_(progress) {}
  Tensors(const Tensors&) = delete;

  template <typename Distribution>
  void Add(const std::string& name, std::vector<int64_t> shape, Distribution draw) {
    const TensorView view{kernels::DType::kF32, std::move(shape), {}};
    const auto produce = [this, draw, random = Randomness(seed_, name),
                          count = view.elements()](const NamedTensor::Append& append) {
      std::vector<float> piece;
      for (int64_t first = 0; first < count; first += kPiece) {
        piece.resize(std::min(kPiece, count - first));
        for (int64_t i = 0; i < std::ssize(piece); ++i) piece[i] = draw(random, first + i);
        RETURN_IF_ERROR(append(std::as_bytes(std::span(piece))));
        written_bytes_ += piece.size() * sizeof(float);
        if (progress_) progress_(static_cast<double>(written_bytes_) / total_bytes_);
      }
      return absl::OkStatus();
    };
    list_.push_back({name, view, produce});
  }

  std::span<const NamedTensor> list() const { return list_; }

 private:
  static constexpr int64_t kPiece = int64_t{1} << 16;

  const uint64_t seed_;
  const int64_t total_bytes_;
  const std::function<void(double)>& progress_;
  int64_t written_bytes_ = 0;
  std::vector<NamedTensor> list_;
};

// Linear layers and convolutions are drawn as in PyTorch: uniform up to 1 / sqrt(inputs).
auto UniformOf(int64_t inputs) { return Uniform(1 / std::sqrt(static_cast<double>(inputs))); }

void AddLayer(const MambaConfig& config, int64_t layer, Tensors& tensors) {
  const int64_t d = config.hidden_size, E = config.intermediate_size, N = config.state_size;
  const int64_t R = config.time_step_rank, W = config.conv_kernel;
  const MambaConfig::Initialization& initialization = config.initialization;
  const std::string prefix = absl::StrCat("backbone.layers.", layer, ".");
  const std::string mixer = prefix + "mixer.";
  const double rescale =
      initialization.rescale_out_proj ? 1 / std::sqrt(static_cast<double>(config.layers)) : 1;

  tensors.Add(prefix + "norm.weight", {d}, Same(1));
  tensors.Add(mixer + "in_proj.weight", {2 * E, d}, UniformOf(d));
  if (config.use_bias) tensors.Add(mixer + "in_proj.bias", {2 * E}, UniformOf(d));
  tensors.Add(mixer + "conv1d.weight", {E, 1, W}, UniformOf(W));
  if (config.use_conv_bias) tensors.Add(mixer + "conv1d.bias", {E}, UniformOf(W));
  tensors.Add(mixer + "x_proj.weight", {R + 2 * N, E}, UniformOf(E));
  tensors.Add(mixer + "dt_proj.weight", {E, R},
              Uniform(initialization.time_step_scale / std::sqrt(static_cast<double>(R))));
  tensors.Add(mixer + "dt_proj.bias", {E}, TimeStepBias(initialization));
  tensors.Add(mixer + "A_log", {E, N}, LogOfStateIndex(N));
  tensors.Add(mixer + "D", {E}, Same(1));
  tensors.Add(mixer + "out_proj.weight", {d, E},
              Uniform(rescale / std::sqrt(static_cast<double>(E))));
  if (config.use_bias) tensors.Add(mixer + "out_proj.bias", {d}, UniformOf(E));
}

void AddModel(const MambaConfig& config, Tensors& tensors) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  tensors.Add(config.original_form ? "backbone.embedding.weight" : "backbone.embeddings.weight",
              {V, d}, Normal(config.initialization.embedding_deviation));
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, tensors);
  tensors.Add("backbone.norm_f.weight", {d}, Same(1));
  if (!config.tie_embeddings) tensors.Add("lm_head.weight", {V, d}, UniformOf(d));
}

// Drawn as in GPT-2: normal, with the outputs to the residual stream divided by the square root of
// their number (Radford et al., Language Models are Unsupervised Multitask Learners, section 2.3).
void AddLayer(const Gpt2Config& config, int64_t layer, Tensors& tensors) {
  const int64_t d = config.hidden_size, F = config.inner_size;
  const double deviation = config.initializer_deviation;
  const double rescaled = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  const std::string prefix = absl::StrCat("transformer.h.", layer, ".");
  const auto add_product = [&](const std::string& name, int64_t in, int64_t out, double drawn) {
    tensors.Add(prefix + name + ".weight", {in, out}, Normal(drawn));
    tensors.Add(prefix + name + ".bias", {out}, Same(0));
  };
  const auto add_norm = [&](const std::string& name) {
    tensors.Add(prefix + name + ".weight", {d}, Same(1));
    tensors.Add(prefix + name + ".bias", {d}, Same(0));
  };
  add_norm("ln_1");
  add_product("attn.c_attn", d, 3 * d, deviation);
  add_product("attn.c_proj", d, d, rescaled);
  add_norm("ln_2");
  add_product("mlp.c_fc", d, F, deviation);
  if (config.activation == kernels::Activation::kCRRelu) {
    tensors.Add(prefix + "mlp.act.lr", {1}, Same(config.crrelu_epsilon_init.value_or(0.01f)));
  }
  add_product("mlp.c_proj", F, d, rescaled);
}

void AddModel(const Gpt2Config& config, Tensors& tensors) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  const auto normal = Normal(config.initializer_deviation);
  tensors.Add("transformer.wte.weight", {V, d}, normal);
  tensors.Add("transformer.wpe.weight", {config.positions, d}, normal);
  for (int64_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, tensors);
  tensors.Add("transformer.ln_f.weight", {d}, Same(1));
  tensors.Add("transformer.ln_f.bias", {d}, Same(0));
  if (config.labels > 0) {
    tensors.Add("score.weight", {config.labels, d}, normal);
  } else if (!config.tie_embeddings) {
    tensors.Add("lm_head.weight", {V, d}, normal);
  }
}

std::string MakeGenerationConfig(const ModelConfig& config) {
  // The generated tokenizer has one special token, 0, which replaces ids that it does not have.
  std::vector<int32_t> eos = config.eos_token_ids();
  for (int32_t& id : eos) id = id < config.tokenizer_size() ? id : 0;
  return absl::StrCat("{\n  \"bos_token_id\": 0,\n  \"eos_token_id\": [", absl::StrJoin(eos, ", "),
                      "],\n  \"pad_token_id\": 0\n}\n");
}

}  // namespace

absl::Status WriteRandomModel(std::string_view config_json, uint64_t seed,
                              const std::string& directory,
                              const std::function<void(double)>& progress) {
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(config_json));
  if (config.tokenizer_size() < kSmallestByteVocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: ", config.tokenizer_size(), " seen, expected at least ",
                     kSmallestByteVocabulary, ", <|endoftext|> and 256 bytes"));
  }
  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(directory));
  const int64_t bytes = config.parameters() * static_cast<int64_t>(sizeof(float));
  RETURN_IF_ERROR(CheckRoom(made.path(), bytes));

  const std::filesystem::path path = made.path();
  RETURN_IF_ERROR(WriteFileAtomically(path / "config.json", config_json));
  RETURN_IF_ERROR(
      WriteFileAtomically(path / "generation_config.json", MakeGenerationConfig(config)));
  RETURN_IF_ERROR(WriteFileAtomically(path / "tokenizer.json",
                                      MakeByteLevelTokenizer(config.tokenizer_size())));
  Tensors tensors(seed, bytes, progress);
  std::visit([&](const auto& known) { AddModel(known, tensors); }, config.architecture);
  RETURN_IF_ERROR(WriteSafetensors(path / "model.safetensors", tensors.list()));
  return made.Commit();
}

}  // namespace whipsnake::engine
