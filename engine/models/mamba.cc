#include "engine/models/mamba.h"

#include <cstring>
#include <utility>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/config.h"
#include "engine/layers/mamba_mixer.h"
#include "engine/layers/weights.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rms_norm/rms_norm.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

// All layers' recurrent states in one blob: per layer the convolution's [W-1,E], then the scan's
// [N,E].
class MambaState : public State {
 public:
  MambaState(const MambaConfig* config, Ledger* ledger, Buffer blob)
      : config_(config), ledger_(ledger), blob_(std::move(blob)) {}

  static int64_t FloatsPerLayer(const MambaConfig& config) {
    return (config.conv_kernel - 1 + config.state_size) * config.intermediate_size;
  }
  static int64_t Bytes(const MambaConfig& config) {
    return config.layers * FloatsPerLayer(config) * sizeof(float);
  }

  int64_t position() const override { return position_; }
  int64_t bytes() const override { return blob_.size(); }

  absl::StatusOr<std::unique_ptr<State>> Clone() const override {
    ASSIGN_OR_RETURN(Buffer blob,
                     ledger_->Allocate(blob_.size(), Purpose::kStates, "copy of a state"));
    std::memcpy(blob.data(), blob_.data(), blob_.size());
    auto copy = std::make_unique<MambaState>(config_, ledger_, std::move(blob));
    copy->position_ = position_;
    return copy;
  }

  float* conv(int64_t layer) const { return blob_.as<float>() + layer * FloatsPerLayer(*config_); }
  float* scan(int64_t layer) const {
    return conv(layer) + (config_->conv_kernel - 1) * config_->intermediate_size;
  }
  void Advance(int64_t tokens) { position_ += tokens; }

 private:
  const MambaConfig* config_;
  Ledger* ledger_;
  Buffer blob_;
  int64_t position_ = 0;
};

struct MambaBlock {
  Buffer norm;  // γ[d]
  MambaMixer mixer;
};

// γ and mixer of every layer, the embedding and the head.
struct MambaWeights {
  WeightMatrix embedding;  // [V,d]
  std::vector<MambaBlock> blocks;
  Buffer final_norm;         // γ_f[d]
  WeightMatrix untied_head;  // [V,d], or empty: the embedding is the head

  const WeightMatrix& head() const {
    return untied_head.view().data != nullptr ? untied_head : embedding;
  }
};

absl::StatusOr<MambaWeights> LoadWeights(WeightLoader& loader, const MambaConfig& config) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  MambaWeights weights;
  // The one difference in naming between the original and the Hugging Face layout.
  const bool original = loader.checkpoint().Contains("backbone.embedding.weight");
  ASSIGN_OR_RETURN(
      weights.embedding,
      loader.Matrix(original ? "backbone.embedding.weight" : "backbone.embeddings.weight", V, d));
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("backbone.layers.", i, ".");
    MambaBlock block;
    ASSIGN_OR_RETURN(block.norm, loader.Floats(prefix + "norm.weight", {d}));
    ASSIGN_OR_RETURN(block.mixer, MambaMixer::Load(loader, prefix + "mixer.", config));
    weights.blocks.push_back(std::move(block));
  }
  ASSIGN_OR_RETURN(weights.final_norm, loader.Floats("backbone.norm_f.weight", {d}));
  if (!config.tie_embeddings) {
    ASSIGN_OR_RETURN(weights.untied_head, loader.Matrix("lm_head.weight", V, d));
  }
  return weights;
}

void CopyEmbedding(const kernels::WeightView& table, int32_t token, float* out) {
  if (table.dtype == kernels::DType::kF32) {
    std::memcpy(out, static_cast<const float*>(table.data) + token * table.k,
                table.k * sizeof(float));
    return;
  }
  const uint16_t* row = static_cast<const uint16_t*>(table.data) + token * table.k;
  for (int64_t i = 0; i < table.k; ++i) out[i] = kernels::FromBF16(row[i]);
}

class Mamba : public Model {
 public:
  Mamba(MambaConfig config, ModelInfo info, std::unique_ptr<Checkpoint> checkpoint,
        MambaWeights weights, const ModelEnvironment& environment)
      : config_(std::move(config)),
        info_(std::move(info)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        environment_(environment) {}

  const ModelInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    ASSIGN_OR_RETURN(Buffer blob, environment_.ledger->Allocate(info_.state_bytes, Purpose::kStates,
                                                                "a new state"));
    return std::make_unique<MambaState>(&config_, environment_.ledger, std::move(blob));
  }

  absl::StatusOr<MatrixView<const float>> Forward(std::span<const Run> runs) override;
  std::vector<std::span<const std::byte>> DecodeWeights() const override;

 private:
  // What one batch needs of the workspace, laid out in order.
  struct Activations {
    MatrixView<float> residual;  // [T,d]
    MatrixView<float> hidden;    // [T,d], the normed input and then the output of a mixer
    MambaMixerWorkspace mixer;
    MatrixView<float> selected;  // [R,d], the rows whose logits are wanted
    MatrixView<float> logits;    // [R,V]
  };

  absl::Status Check(std::span<const Run> runs) const;
  absl::StatusOr<Activations> Prepare(int64_t rows, int64_t logit_rows);
  void Embed(std::span<const Run> runs, MatrixView<float> residual) const;
  void RunBlocks(std::span<const Run> runs, const Activations& activations) const;
  void Select(std::span<const Run> runs, const Activations& activations) const;

  const MambaConfig config_;
  const ModelInfo info_;
  const std::unique_ptr<Checkpoint> checkpoint_;  // mapped weights lie in it
  const MambaWeights weights_;
  const ModelEnvironment environment_;
  Buffer workspace_;
};

int64_t LogitRows(const Run& run) {
  switch (run.logits) {
    case LogitsOf::kNone:
      return 0;
    case LogitsOf::kLast:
      return 1;
    case LogitsOf::kAll:
      return static_cast<int64_t>(run.tokens.size());
  }
  return 0;
}

absl::Status Mamba::Check(std::span<const Run> runs) const {
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    if (run.tokens.empty())
      return absl::InvalidArgumentError(absl::StrCat("run ", i, ": no tokens"));
    if (run.state == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("run ", i, ": no state"));
    for (const int32_t token : run.tokens) {
      if (token < 0 || token >= info_.vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            "run ", i, ": token ", token, " seen, expected 0 to ", info_.vocab_size - 1));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Mamba::Activations> Mamba::Prepare(int64_t rows, int64_t logit_rows) {
  const int64_t d = config_.hidden_size, V = info_.vocab_size;
  const int64_t mixer_floats = rows * MambaMixerWorkspace::FloatsPerRow(config_);
  const int64_t floats = 2 * rows * d + mixer_floats + logit_rows * (d + V);
  const int64_t bytes = floats * sizeof(float);
  if (workspace_.size() < bytes) {
    workspace_ = Buffer();  // give the old one back before asking for the new one
    ASSIGN_OR_RETURN(workspace_, environment_.ledger->Allocate(bytes, Purpose::kWorkspace,
                                                               "workspace of a forward pass"));
  }
  float* memory = workspace_.as<float>();
  const auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
  float* residual = take(rows * d);
  float* hidden = take(rows * d);
  float* mixer = take(mixer_floats);
  float* selected = take(logit_rows * d);
  return Activations{.residual = {residual, rows, d},
                     .hidden = {hidden, rows, d},
                     .mixer = MambaMixerWorkspace(config_, rows, mixer),
                     .selected = {selected, logit_rows, d},
                     .logits = {memory, logit_rows, V}};
}

absl::StatusOr<MatrixView<const float>> Mamba::Forward(std::span<const Run> runs) {
  RETURN_IF_ERROR(Check(runs));
  int64_t rows = 0, logit_rows = 0;
  for (const Run& run : runs) {
    rows += run.tokens.size();
    logit_rows += LogitRows(run);
  }
  ASSIGN_OR_RETURN(const Activations activations, Prepare(rows, logit_rows));
  const bool decode = rows == static_cast<int64_t>(runs.size());
  environment_.executor->Run(decode ? Priority::kDecode : Priority::kPrefill, [&] {
    Embed(runs, activations.residual);
    RunBlocks(runs, activations);
    Select(runs, activations);
    kernels::Matmul(activations.selected, weights_.head().view(), nullptr, activations.logits);
  });
  for (const Run& run : runs) static_cast<MambaState*>(run.state)->Advance(run.tokens.size());
  return activations.logits;
}

void Mamba::Embed(std::span<const Run> runs, MatrixView<float> residual) const {
  int64_t row = 0;
  for (const Run& run : runs) {
    for (const int32_t token : run.tokens)
      CopyEmbedding(weights_.embedding.view(), token, residual.row(row++));
  }
}

// Per layer: u = RMSNorm(r); r += mixer(u). The addition is fused into the next norm.
void Mamba::RunBlocks(std::span<const Run> runs, const Activations& activations) const {
  const auto& [residual, hidden, workspace, selected, logits] = activations;
  std::vector<MambaMixerRun> mixer_runs(runs.size());
  MatrixView<const float> addend;  // nothing to add before the first layer
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const MambaBlock& block = weights_.blocks[layer];
    int64_t begin = 0;
    for (size_t i = 0; i < runs.size(); ++i) {
      const auto* state = static_cast<const MambaState*>(runs[i].state);
      const int64_t length = runs[i].tokens.size();
      mixer_runs[i] = {begin, length, state->conv(layer), state->scan(layer)};
      begin += length;
    }
    kernels::ResidualRmsNorm(addend, residual, block.norm.as<float>(), config_.norm_epsilon,
                             hidden);
    block.mixer.Forward(mixer_runs, hidden, workspace, hidden);
    addend = hidden;
    environment_.executor->Yield();
  }
}

// The final norm of the rows whose logits are wanted.
void Mamba::Select(std::span<const Run> runs, const Activations& activations) const {
  const auto& [residual, hidden, workspace, selected, logits] = activations;
  const int64_t row_bytes = config_.hidden_size * sizeof(float);
  // Compact the wanted rows in place: they only move up.
  int64_t begin = 0, to = 0;
  for (const Run& run : runs) {
    const int64_t length = run.tokens.size(), wanted = LogitRows(run);
    for (int64_t row = begin + length - wanted; row < begin + length; ++row, ++to) {
      if (row == to) continue;
      std::memcpy(residual.row(to), residual.row(row), row_bytes);
      std::memcpy(hidden.row(to), hidden.row(row), row_bytes);
    }
    begin += length;
  }
  kernels::ResidualRmsNorm(hidden.Rows(0, to), residual.Rows(0, to),
                           weights_.final_norm.as<float>(), config_.norm_epsilon, selected);
}

std::vector<std::span<const std::byte>> Mamba::DecodeWeights() const {
  std::vector<std::span<const std::byte>> weights;
  for (const MambaBlock& block : weights_.blocks) {
    weights.push_back(block.norm.bytes());
    block.mixer.AppendWeights(weights);
  }
  weights.push_back(weights_.final_norm.bytes());
  weights.push_back(weights_.head().bytes());
  return weights;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadMamba(const std::string& directory,
                                                 std::string_view config_json, Scheme scheme,
                                                 const ModelEnvironment& environment) {
  auto config = ParseMambaConfig(config_json);
  if (!config.ok()) return WithContext(config.status(), directory + "/config.json");
  ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
  const auto matrix_type = scheme == Scheme::kBf16 ? kernels::DType::kBF16 : kernels::DType::kF32;

  WeightLoader plan(checkpoint.get(), matrix_type, nullptr);
  if (const auto planned = LoadWeights(plan, *config); !planned.ok()) {
    return WithContext(planned.status(), directory);
  }
  RETURN_IF_ERROR(environment.ledger->CheckFits(plan.bytes(), directory));
  WeightLoader loader(checkpoint.get(), matrix_type, environment.ledger);
  ASSIGN_OR_RETURN(MambaWeights weights, LoadWeights(loader, *config));

  ModelInfo info;
  info.architecture = "mamba";
  info.scheme = scheme;
  info.vocab_size = config->vocab_size;
  info.parameters = config->parameters();
  info.weights_bytes = loader.bytes();
  info.state_bytes = MambaState::Bytes(*config);
  return std::make_unique<Mamba>(*std::move(config), std::move(info), std::move(checkpoint),
                                 std::move(weights), environment);
}

}  // namespace whipsnake::engine
