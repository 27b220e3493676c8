#include "engine/models/mamba/mamba_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/base/status.h"
#include "engine/layers/weights.h"
#include "engine/quantize/rotation.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;
using Floats = std::vector<float>;

std::string LayerPrefix(int64_t layer) { return absl::StrCat("backbone.layers.", layer, "."); }

MatrixView<float> Matrix(Floats& values, int64_t rows) {
  return {values.data(), rows, static_cast<int64_t>(values.size()) / rows};
}

// One scale per column, or one for all.
Floats ScalesOf(const ColumnRanges& ranges, bool each) {
  if (!each) return {ScaleOf(ranges.whole())};
  Floats scales;
  for (const float absmax : ranges.absmax()) scales.push_back(ScaleOf(absmax));
  return scales;
}

// The scales of the state: one per n, or one for all.
Floats StateScales(const LayerStatistics& seen, bool each, double clip) {
  Floats scales;
  for (const PercentileObserver& row : seen.state)
    scales.push_back(ScaleOf(static_cast<float>(clip * row.mean(0))));
  if (!each) scales = {*std::ranges::max_element(scales)};
  return scales;
}

// The largest magnitudes of u without the norm's weight, as u is after the weight has been folded.
Floats UnscaledAbsMax(const ColumnRanges& normed, const Floats& norm) {
  Floats absmax = normed.absmax();
  DivideByNorm({absmax.data(), 1, static_cast<int64_t>(absmax.size())}, norm);
  for (float& value : absmax) value = std::abs(value);
  return absmax;
}

// Makes one model's tensors.
class Quantizer {
 public:
  Quantizer(const Checkpoint& checkpoint, const MambaConfig& config, const Recipe& recipe,
            const MambaStatistics& statistics, size_t alpha, Executor& executor)
      : checkpoint_(checkpoint),
        config_(config),
        recipe_(recipe),
        statistics_(statistics),
        alpha_(alpha),
        executor_(executor),
        d_(config.hidden_size),
        E_(config.intermediate_size),
        N_(config.state_size),
        R_(config.time_step_rank),
        W_(config.conv_kernel),
        each_(recipe.granularity == Granularity::kChannel) {}

  absl::Status Layer(const kernels::Context& context, int64_t index);
  absl::Status EmbeddingAndHead(const kernels::Context& context);
  QuantizedTensors Take() { return std::move(result_); }

 private:
  void Add(OwnedTensor tensor) { result_.tensors.push_back(std::move(tensor)); }
  void AddScales(const std::string& name, const Floats& scales) {
    Add(FloatsTensor(name, {static_cast<int64_t>(scales.size())}, scales));
  }
  // Adds a weight's codes and scales. `shape` begins with the number of rows.
  void AddWeight(const std::string& name, std::vector<int64_t> shape, const Floats& values,
                 bool scale_per_row);
  // Adds a vector: as codes with one scale for Granularity::kTensor, else in fp32.
  void AddVector(const std::string& name, std::vector<int64_t> shape, const Floats& values);
  void AddTable(const std::string& name, const Floats& values);

  void Smooth(const LayerStatistics& seen, const Floats& input, const std::string& mixer,
              FloatLayer& layer);

  const Checkpoint& checkpoint_;
  const MambaConfig& config_;
  const Recipe& recipe_;
  const MambaStatistics& statistics_;
  const size_t alpha_;
  Executor& executor_;
  const int64_t d_, E_, N_, R_, W_;
  const bool each_;
  // The largest magnitudes of the inputs of the current layer's products, after rotation or
  // smoothing.
  float input_absmax_ = 0, x_absmax_ = 0, rank_absmax_ = 0, output_absmax_ = 0;
  QuantizedTensors result_;
};

void Quantizer::AddWeight(const std::string& name, std::vector<int64_t> shape, const Floats& values,
                          bool scale_per_row) {
  result_.AddWeight(name, std::move(shape), values, scale_per_row);
  executor_.Yield();
}

void Quantizer::AddVector(const std::string& name, std::vector<int64_t> shape,
                          const Floats& values) {
  if (each_) {
    Add(FloatsTensor(name, std::move(shape), values));
  } else {
    AddWeight(name, std::move(shape), values, /*scale_per_row=*/false);
  }
}

// Moves half of the outliers of u, x, δ and y into the weights that they are multiplied with.
// `input` holds the largest magnitude of each column of u.
void Quantizer::Smooth(const LayerStatistics& seen, const Floats& input, const std::string& mixer,
                       FloatLayer& layer) {
  const MatrixView<float> in_proj = Matrix(layer.in_proj, 2 * E_);
  const Floats u = SmoothingOf(input, in_proj);
  ScaleColumns(in_proj, u);
  input_absmax_ = SmoothedAbsMax(input, u);
  // The norm divides by u's factors.
  for (int64_t i = 0; i < d_; ++i) layer.norm[i] = 1.0f / u[i];

  const MatrixView<float> x_proj = Matrix(layer.x_proj, R_ + 2 * N_);
  const Floats x = SmoothingOf(seen.x.absmax(), x_proj);
  ScaleColumns(x_proj, x);
  x_absmax_ = SmoothedAbsMax(seen.x.absmax(), x);
  Add(FloatsTensor(mixer + "x_proj.input_smoothing", {E_}, x));

  // x_proj computes δ, so its rows are divided.
  const MatrixView<float> dt_proj = Matrix(layer.dt_proj, E_);
  const Floats rank = SmoothingOf(seen.rank.absmax(), dt_proj);
  ScaleColumns(dt_proj, rank);
  for (int64_t r = 0; r < R_; ++r) {
    for (int64_t c = 0; c < E_; ++c) x_proj.row(r)[c] /= rank[r];
  }
  rank_absmax_ = SmoothedAbsMax(seen.rank.absmax(), rank);

  const MatrixView<float> out_proj = Matrix(layer.out_proj, d_);
  const Floats y = SmoothingOf(seen.output.absmax(), out_proj);
  ScaleColumns(out_proj, y);
  output_absmax_ = SmoothedAbsMax(seen.output.absmax(), y);
  Add(FloatsTensor(mixer + "out_proj.input_smoothing", {E_}, y));
}

absl::Status Quantizer::Layer(const kernels::Context& context, int64_t index) {
  const std::string prefix = LayerPrefix(index), mixer = prefix + "mixer.";
  const LayerStatistics& seen = statistics_.layer(index);
  ASSIGN_OR_RETURN(FloatLayer layer, ReadLayer(checkpoint_, config_, index));
  const Floats input = UnscaledAbsMax(seen.input, layer.norm);
  input_absmax_ = recipe_.residual_rotation ? seen.rotated_input : *std::ranges::max_element(input);
  x_absmax_ = recipe_.percentile ? seen.x_percentile.front().mean(alpha_) : seen.x.whole();
  rank_absmax_ = seen.rank.whole();
  output_absmax_ = recipe_.output_rotation ? seen.rotated_output : seen.output.whole();
  FoldLayer(context, config_, recipe_, layer);
  if (recipe_.smoothing) Smooth(seen, input, mixer, layer);

  Add(FloatsTensor(prefix + "norm.weight", {d_}, layer.norm));
  AddScales(mixer + "in_proj.input_scale", {ScaleOf(input_absmax_)});
  AddWeight(mixer + "in_proj.weight", {2 * E_, d_}, layer.in_proj, each_);
  Floats x = ScalesOf(seen.conv_input, each_), z = ScalesOf(seen.gate, each_);
  if (!each_) x[0] = z[0] = std::max(x[0], z[0]);
  AddScales(mixer + "conv1d.input_scale", x);
  AddScales(mixer + "gate_scale", z);
  if (config_.use_bias) Add(FloatsTensor(mixer + "in_proj.bias", {2 * E_}, layer.in_proj_bias));

  AddWeight(mixer + "conv1d.weight", {E_, 1, W_}, layer.conv, each_);
  if (config_.use_conv_bias) AddVector(mixer + "conv1d.bias", {E_}, layer.conv_bias);

  AddScales(mixer + "x_proj.input_scale", {ScaleOf(x_absmax_)});
  AddWeight(mixer + "x_proj.weight", {R_ + 2 * N_, E_}, layer.x_proj, each_);
  Floats rank = {ScaleOf(rank_absmax_)}, b = ScalesOf(seen.b, each_), c = ScalesOf(seen.c, each_);
  if (!each_) rank[0] = b[0] = c[0] = std::max({rank[0], b[0], c[0]});
  AddScales(mixer + "dt_proj.input_scale", rank);
  AddScales(mixer + "B_scale", b);
  AddScales(mixer + "C_scale", c);

  AddWeight(mixer + "dt_proj.weight", {E_, R_}, layer.dt_proj, each_);
  AddScales(mixer + "dt_proj.output_scale", ScalesOf(seen.step, each_));
  AddVector(mixer + "dt_proj.bias", {E_}, layer.dt_bias);
  AddVector(mixer + "A_log", {E_, N_}, layer.a_log);
  AddVector(mixer + "D", {E_}, layer.d);
  AddScales(mixer + "state_scale", StateScales(seen, each_, /*clip=*/1));

  AddScales(mixer + "out_proj.input_scale", {ScaleOf(output_absmax_)});
  AddWeight(mixer + "out_proj.weight", {d_, E_}, layer.out_proj, each_);
  if (config_.use_bias) Add(FloatsTensor(mixer + "out_proj.bias", {d_}, layer.out_proj_bias));
  return absl::OkStatus();
}

void Quantizer::AddTable(const std::string& name, const Floats& values) {
  result_.AddTable(name, {config_.vocab_size, d_}, values, recipe_.head_bits);
}

absl::Status Quantizer::EmbeddingAndHead(const kernels::Context& context) {
  ASSIGN_OR_RETURN(FloatEmbeddingAndHead tables, ReadEmbeddingAndHead(checkpoint_, config_));
  const std::vector<float> norm = tables.norm;
  FoldEmbeddingAndHead(context, config_, recipe_, tables);
  AddTable("backbone.embeddings.weight", tables.embedding);
  Add(FloatsTensor("backbone.norm_f.weight", {d_}, tables.norm));
  if (!tables.head.empty()) AddTable("lm_head.weight", tables.head);
  if (recipe_.head_bits != 8) return absl::OkStatus();
  // With a tied head, the norm keeps its weight.
  const LayerStatistics& seen = statistics_.head();
  const Floats input = tables.head.empty() ? seen.input.absmax() : UnscaledAbsMax(seen.input, norm);
  const float absmax =
      recipe_.residual_rotation ? seen.rotated_input : *std::ranges::max_element(input);
  AddScales("lm_head.input_scale", {ScaleOf(absmax)});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FloatLayer> ReadLayer(const Checkpoint& checkpoint, const MambaConfig& config,
                                     int64_t index) {
  const int64_t d = config.hidden_size, E = config.intermediate_size;
  const int64_t N = config.state_size, R = config.time_step_rank, W = config.conv_kernel;
  const std::string prefix = LayerPrefix(index), mixer = prefix + "mixer.";
  FloatLayer layer;
  ASSIGN_OR_RETURN(layer.norm, ReadFinite(checkpoint, prefix + "norm.weight", {d}));
  ASSIGN_OR_RETURN(layer.in_proj, ReadFinite(checkpoint, mixer + "in_proj.weight", {2 * E, d}));
  ASSIGN_OR_RETURN(layer.conv, ReadFinite(checkpoint, mixer + "conv1d.weight", {E, 1, W}));
  ASSIGN_OR_RETURN(layer.x_proj, ReadFinite(checkpoint, mixer + "x_proj.weight", {R + 2 * N, E}));
  ASSIGN_OR_RETURN(layer.dt_proj, ReadFinite(checkpoint, mixer + "dt_proj.weight", {E, R}));
  ASSIGN_OR_RETURN(layer.dt_bias, ReadFinite(checkpoint, mixer + "dt_proj.bias", {E}));
  ASSIGN_OR_RETURN(layer.a_log, ReadFinite(checkpoint, mixer + "A_log", {E, N}));
  ASSIGN_OR_RETURN(layer.d, ReadFinite(checkpoint, mixer + "D", {E}));
  ASSIGN_OR_RETURN(layer.out_proj, ReadFinite(checkpoint, mixer + "out_proj.weight", {d, E}));
  if (config.use_conv_bias) {
    ASSIGN_OR_RETURN(layer.conv_bias, ReadFinite(checkpoint, mixer + "conv1d.bias", {E}));
  }
  if (config.use_bias) {
    ASSIGN_OR_RETURN(layer.in_proj_bias, ReadFinite(checkpoint, mixer + "in_proj.bias", {2 * E}));
    ASSIGN_OR_RETURN(layer.out_proj_bias, ReadFinite(checkpoint, mixer + "out_proj.bias", {d}));
  }
  return layer;
}

void FoldLayer(const kernels::Context& context, const MambaConfig& config, const Recipe& recipe,
               FloatLayer& layer) {
  const MatrixView<float> in_proj = Matrix(layer.in_proj, 2 * config.intermediate_size);
  const MatrixView<float> out_proj = Matrix(layer.out_proj, config.hidden_size);
  ScaleColumns(in_proj, layer.norm);
  layer.norm.assign(layer.norm.size(), 1.0f);
  if (recipe.output_rotation) RotateRows(context, out_proj);
  if (!recipe.residual_rotation) return;
  RotateRows(context, in_proj);
  RotateColumns(context, out_proj);
  if (!layer.out_proj_bias.empty()) RotateRows(context, Matrix(layer.out_proj_bias, 1));
}

absl::StatusOr<FloatEmbeddingAndHead> ReadEmbeddingAndHead(const Checkpoint& checkpoint,
                                                           const MambaConfig& config) {
  const int64_t V = config.vocab_size, d = config.hidden_size;
  const bool original = checkpoint.Contains("backbone.embedding.weight");
  FloatEmbeddingAndHead tables;
  ASSIGN_OR_RETURN(
      tables.embedding,
      ReadFinite(checkpoint, original ? "backbone.embedding.weight" : "backbone.embeddings.weight",
                 {V, d}));
  ASSIGN_OR_RETURN(tables.norm, ReadFinite(checkpoint, "backbone.norm_f.weight", {d}));
  if (!config.tie_embeddings) {
    ASSIGN_OR_RETURN(tables.head, ReadFinite(checkpoint, "lm_head.weight", {V, d}));
  }
  return tables;
}

void FoldEmbeddingAndHead(const kernels::Context& context, const MambaConfig& config,
                          const Recipe& recipe, FloatEmbeddingAndHead& tables) {
  const int64_t V = config.vocab_size;
  if (recipe.residual_rotation && tables.head.empty()) tables.head = tables.embedding;
  if (!tables.head.empty()) {
    ScaleColumns(Matrix(tables.head, V), tables.norm);
    tables.norm.assign(tables.norm.size(), 1.0f);
  }
  if (!recipe.residual_rotation) return;
  RotateRows(context, Matrix(tables.embedding, V));
  RotateRows(context, Matrix(tables.head, V));
}

absl::StatusOr<QuantizedTensors> QuantizeTensors(
    const Checkpoint& checkpoint, const MambaConfig& config, const Recipe& recipe,
    const MambaStatistics& statistics, size_t alpha, Executor& executor,
    const std::function<absl::Status(double)>& progress) {
  Quantizer quantizer(checkpoint, config, recipe, statistics, alpha, executor);
  RETURN_IF_ERROR(QuantizeParts(config.layers + 1, executor, progress,
                                [&](const kernels::Context& context, int64_t part) {
                                  return part < config.layers ? quantizer.Layer(context, part)
                                                              : quantizer.EmbeddingAndHead(context);
                                }));
  return quantizer.Take();
}

namespace {

// Overwrites the tensor mixer.`name` of each layer with values(layer).
void Replace(const MambaConfig& config, const char* name,
             const std::function<Floats(int64_t layer)>& values,
             std::vector<OwnedTensor>& tensors) {
  std::map<std::string, Floats> replaced;
  for (int64_t i = 0; i < config.layers; ++i) {
    replaced[absl::StrCat(LayerPrefix(i), "mixer.", name)] = values(i);
  }
  for (OwnedTensor& tensor : tensors) {
    const auto found = replaced.find(tensor.name);
    if (found == replaced.end()) continue;
    std::memcpy(tensor.data.data(), found->second.data(), tensor.data.size());
  }
}

}  // namespace

void SetPercentile(const MambaConfig& config, const Recipe& recipe,
                   const MambaStatistics& statistics, size_t alpha,
                   std::vector<OwnedTensor>& tensors) {
  const auto scale = [&](int64_t layer) {
    const LayerStatistics& seen = statistics.layer(layer);
    return Floats{
        ScaleOf(recipe.percentile ? seen.x_percentile.front().mean(alpha) : seen.x.whole())};
  };
  Replace(config, "x_proj.input_scale", scale, tensors);
}

void SetStateClip(const MambaConfig& config, const Recipe& recipe,
                  const MambaStatistics& statistics, double clip,
                  std::vector<OwnedTensor>& tensors) {
  const bool each = recipe.granularity == Granularity::kChannel;
  const auto scales = [&](int64_t layer) {
    return StateScales(statistics.layer(layer), each, clip);
  };
  Replace(config, "state_scale", scales, tensors);
}

absl::StatusOr<std::vector<std::vector<float>>> ReadNorms(const Checkpoint& checkpoint,
                                                          const MambaConfig& config) {
  std::vector<std::vector<float>> norms;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    ASSIGN_OR_RETURN(
        norms.emplace_back(),
        ReadFinite(checkpoint, LayerPrefix(layer) + "norm.weight", {config.hidden_size}));
  }
  ASSIGN_OR_RETURN(norms.emplace_back(),
                   ReadFinite(checkpoint, "backbone.norm_f.weight", {config.hidden_size}));
  return norms;
}

}  // namespace whipsnake::engine
