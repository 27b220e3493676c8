#include "engine/models/mamba/mamba_block.h"

#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/layers/recurrent_state.h"

namespace whipsnake::engine {

using kernels::MatrixView;

MambaStateLayout::MambaStateLayout(const MambaConfig& config, const MambaStateTypes& types)
    : layers_(config.layers),
      conv_bytes_((config.conv_kernel - 1) * config.intermediate_size * ByteSize(types.conv)),
      layer_bytes_(conv_bytes_ +
                   config.state_size * config.intermediate_size * ByteSize(types.scan)) {}

MambaBlock::MambaBlock(const MambaConfig& config, const MambaStateLayout& states,
                       std::string prefix, Inputs inputs, int64_t layer, MambaObserver* observer)
    : d_(config.hidden_size),
      E_(config.intermediate_size),
      N_(config.state_size),
      R_(config.time_step_rank),
      W_(config.conv_kernel),
      prefix_(std::move(prefix)),
      inputs_(inputs),
      states_(states),
      layer_(layer),
      observer_(observer),
      norm_epsilon_(config.norm_epsilon) {}

absl::Status MambaBlock::LoadShared(WeightLoader& loader) {
  ASSIGN_OR_RETURN(norm_, Norm::Load(loader, prefix_ + "norm", {NormKind::kRms, d_, norm_epsilon_},
                                     in_proj_.input_scale()));
  ASSIGN_OR_RETURN(dt_bias_, loader.Floats(MixerName("dt_proj.bias"), {E_}));
  ASSIGN_OR_RETURN(A_, loader.TransposedFloats(MixerName("A_log"), {E_, N_},
                                               [](float log) { return -std::exp(log); }));
  ASSIGN_OR_RETURN(D_, loader.Floats(MixerName("D"), {E_}));
  return absl::OkStatus();
}

// Floats save memory where a value is used up when the next one is written.
MambaBlock::Values MambaBlock::LayOut(Arena& arena, MatrixView<float> hidden, int64_t rows) const {
  const bool floats = inputs_ == Inputs::kFloats;
  Values values;
  values.u = floats ? Rows{.floats = hidden} : Rows::LayOut(arena, inputs_, rows, d_);
  values.xz = Rows::LayOut(arena, inputs_, rows, 2 * E_);
  values.x = Rows::LayOut(arena, inputs_, rows, E_);
  values.dbc = Rows::LayOut(arena, inputs_, rows, R_ + 2 * N_);
  values.delta = Rows::LayOut(arena, inputs_, rows, E_);
  values.y = floats ? values.x.floats : arena.Matrix<float>(rows, E_);
  values.y_input = floats ? values.x : Rows::LayOut(arena, inputs_, rows, E_);
  return values;
}

int64_t MambaBlock::ScratchBytes(int64_t rows) const {
  Arena arena;
  LayOut(arena, {}, rows);
  return arena.bytes();
}

std::vector<MambaRun> MambaBlock::RunsOf(std::span<const BlockRun> runs) const {
  std::vector<MambaRun> mamba_runs;
  mamba_runs.reserve(runs.size());
  for (const BlockRun& run : runs) {
    std::byte* state = static_cast<const RecurrentState*>(run.state)->data();
    mamba_runs.push_back(
        {run.begin, run.length, state + states_.conv(layer_), state + states_.scan(layer_)});
  }
  return mamba_runs;
}

void MambaBlock::Forward(const kernels::Context& context, std::span<const BlockRun> runs,
                         ResidualStream& stream, Arena scratch) const {
  const std::vector<MambaRun> mamba_runs = RunsOf(runs);
  const Values values = LayOut(scratch, stream.addend, stream.sum.rows);

  // u = γ ∘ RMSNorm(r)
  norm_.Forward(context, stream.Pending(), stream.sum, values.u);
  Observe(context, MambaSite::kInput, values.u.floats);

  // [x;z] = W_in u
  in_proj_.Forward(context, values.u, values.xz);
  const Rows x = values.xz.Columns(0, E_);
  Observe(context, MambaSite::kConvInput, x.floats);
  Observe(context, MambaSite::kGate, values.xz.Columns(E_, E_).floats);

  // x_t = SiLU(b_c + Σ_k w_c,k · x_{t-W+1+k})
  Convolve(context, mamba_runs, x, values.x);
  Observe(context, MambaSite::kX, values.x.floats);

  // [δ;B;C] = W_x x
  x_proj_.Forward(context, values.x, values.dbc);
  const Rows rank = values.dbc.Columns(0, R_);
  Observe(context, MambaSite::kRank, rank.floats);
  Observe(context, MambaSite::kB, values.dbc.Columns(R_, N_).floats);
  Observe(context, MambaSite::kC, values.dbc.Columns(R_ + N_, N_).floats);

  // Δ = softplus(W_dt δ + b_dt); the scan adds the bias and takes the softplus.
  dt_proj_.Forward(context, rank, values.delta);
  Observe(context, MambaSite::kStep, values.delta.floats);

  // h_t = exp(Δ_t A)∘h_{t-1} + (Δ_t x_t) B_tᵀ
  // y_t = (h_t C_t + D∘x_t)∘SiLU(z_t)
  Scan(context, mamba_runs, values);
  Observe(context, MambaSite::kOutput, values.y);
  if (observer_ != nullptr) ObserveStates(context, mamba_runs);

  // h' = W_out y
  out_proj_.Forward(context, OutputInput(context, values), stream.addend);
  stream.pending = true;
}

void MambaBlock::ObserveStates(const kernels::Context& context,
                               std::span<const MambaRun> runs) const {
  for (const MambaRun& run : runs) {
    Observe(context, MambaSite::kState, {reinterpret_cast<const float*>(run.scan_state), N_, E_});
  }
}

void MambaBlock::VisitParameters(ParameterVisitor visit) const {
  norm_.VisitParameters(visit);
  in_proj_.VisitParameters(visit);
  VisitOwnParameters(visit);
  x_proj_.VisitParameters(visit);
  dt_proj_.VisitParameters(visit);
  VisitBuffer(visit, MixerName("dt_proj.bias"), {E_}, ParameterRole::kBias, dt_bias_);
  VisitBuffer(visit, MixerName("A_log"), {E_, N_}, ParameterRole::kRecurrence, A_);
  VisitBuffer(visit, MixerName("D"), {E_}, ParameterRole::kRecurrence, D_);
  out_proj_.VisitParameters(visit);
}

}  // namespace whipsnake::engine
