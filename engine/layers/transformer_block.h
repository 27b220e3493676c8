// A block of a transformer that normalizes before its layers, whatever the arithmetic.
//
//   r += h;  u = LayerNorm(r);  [q;k;v] = W_a u + b_a;  y = attention(q, k, v)
//   r += W_o y + b_o;  u = LayerNorm(r);  h' = W_2 f(W_1 u + b_1) + b_2
//
// Source: Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2), section 2.3;
// f of CRReLU has an ε of its own in each block (arXiv 2405.12954).
//
// Letters: T tokens of all runs, d model width, F inner width.
//
// Tensors of a GPT-2 layer, beside those of the float checkpoint, where it is quantized
// (X.qweight is [outputs, inputs], X.scale of each output):
//
//   attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj   .qweight, .scale, .bias and, of static codes,
//                                                    .input_scale
//   mlp.act.input_scale   of what the activation's table is looked up by, where there is one
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/arena.h"
#include "engine/layers/activation.h"
#include "engine/layers/linear.h"
#include "engine/layers/norm.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"

namespace whipsnake::engine {

// Where a value is seen, in the order of the equations.
enum class TransformerSite {
  kAttentionInput,    // u [T,d]
  kAttentionOutput,   // y [T,d]
  kFeedForwardInput,  // u [T,d]
  kActivationInput,   // W_1 u + b_1 [T,F]
  kActivation,        // f of it [T,F]
  kHeadInput,         // u of the language head [R,d]; the layer is the number of layers
};

// Sees what flows through a float model, to measure it. Called on the compute thread.
class TransformerObserver {
 public:
  virtual ~TransformerObserver() = default;
  virtual void Observe(int64_t layer, TransformerSite site,
                       kernels::MatrixView<const float> values) = 0;
};

// The shape and the arithmetic of a block.
struct TransformerBlockConfig {
  int64_t hidden_size = 0;  // d
  int64_t inner_size = 0;   // F
  float norm_epsilon = 1e-5f;
  float attention_scale = 1;  // by which the products of queries and keys are multiplied
  ActivationConfig activation;
};

// How a transformer's products are held.
struct TransformerTypes {
  kernels::DType matrix = kernels::DType::kF32;
  Inputs inputs = Inputs::kFloats;
};

// Immutable; movable. Called on the executor.
class TransformerBlock {
 public:
  // Tensors are named `prefix` + "ln_1.weight" and so on. The loader's checkpoint outlives the
  // block, and so does the observer, which may be null.
  static absl::StatusOr<TransformerBlock> Load(WeightLoader& loader, const std::string& prefix,
                                               const TransformerBlockConfig& config,
                                               const TransformerTypes& types, int64_t layer,
                                               TransformerObserver* observer);

  // Where the keys and values of the runs' sequences lie.
  struct Cache {
    kernels::KvLayout layout;
    int64_t offset = 0;  // of this layer, in each block
  };

  // residual[T,d] += addend[T,d] (or nothing, where that is empty), then += the attention's;
  // out[T,d] = the feed-forward's, not yet added. out may alias addend. Writes the runs' keys and
  // values. `scratch` has ScratchBytes(T) bytes; what they hold means nothing between calls.
  void Forward(std::span<const kernels::AttentionRun> runs, const Cache& cache,
               kernels::MatrixView<const float> addend, kernels::MatrixView<float> residual,
               Arena scratch, kernels::MatrixView<float> out) const;
  int64_t ScratchBytes(int64_t rows) const;

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  struct Scratch {
    kernels::MatrixView<float> qkv;    // [T,3d]
    kernels::MatrixView<float> y;      // [T,d]
    kernels::MatrixView<float> inner;  // [T,F], where it is not codes at once
    Rows u;                            // [T,d], as a product wants it
    Rows activated;                    // [T,F]
  };
  Scratch Lay(Arena& arena, int64_t rows) const;
  // [T,d] or [T,F] for `product`: as they are, or their codes.
  Rows InputsOf(const Linear& product, kernels::MatrixView<float> values, const Rows& codes) const;
  void FeedForward(const Scratch& scratch, kernels::MatrixView<float> out) const;
  void Observe(TransformerSite site, kernels::MatrixView<const float> values) const;

  int64_t width_ = 0, inner_width_ = 0, layer_ = 0;
  float attention_scale_ = 1;
  TransformerTypes types_;
  TransformerObserver* observer_ = nullptr;
  Norm attention_norm_, feed_forward_norm_;
  Linear attention_in_, attention_out_;  // [3d,d], [d,d]
  Linear feed_forward_in_, feed_forward_out_;
  kernels::ActivationFunction activation_;
  float table_scale_ = 1;  // of the codes that the table is looked up by
  std::vector<int8_t> table_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_
