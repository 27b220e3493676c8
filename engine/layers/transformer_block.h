// A transformer block with its norms before its layers, in float or 8-bit arithmetic.
//
//   r += h;  u = LayerNorm(r);  [q;k;v] = W_a u + b_a;  y = attention(q, k, v)
//   r += W_o y + b_o;  u = LayerNorm(r);  h' = W_2 f(W_1 u + b_1) + b_2
//
// Source: Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2), section 2.3.
// If f is CRReLU, each block has its own ε (arXiv 2405.12954).
//
// Letters: T tokens of all runs, d model width, F inner width.
//
// Tensors of a quantized GPT-2 layer, beside those that it has from the float checkpoint (X.qweight
// is [outputs, inputs], X.scale has one scale per output):
//
//   attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj   .qweight, .scale, .bias and, with static
//                                                    codes, .input_scale
//   mlp.act.input_scale   scale of the codes that index the activation's table, if there is one
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

// Where a value is observed, in the order of the equations.
enum class TransformerSite {
  kAttentionInput,    // u [T,d]
  kAttentionOutput,   // y [T,d]
  kFeedForwardInput,  // u [T,d]
  kActivationInput,   // W_1 u + b_1 [T,F]
  kActivation,        // f(W_1 u + b_1) [T,F]
  kHeadInput,         // u of the language head [R,d]; the layer is the number of layers
};

// Observes the values that flow through a float model, to measure them. Called on the compute
// thread.
class TransformerObserver {
 public:
  virtual ~TransformerObserver() = default;
  virtual void Observe(int64_t layer, TransformerSite site,
                       kernels::MatrixView<const float> values) = 0;
};

// The shape and the constants of a block.
struct TransformerBlockConfig {
  int64_t hidden_size = 0;  // d
  int64_t inner_size = 0;   // F
  float norm_epsilon = 1e-5f;
  float attention_scale = 1;  // factor of the products of queries and keys
  ActivationConfig activation;
};

// The types of the weights and the inputs of a transformer's products.
struct TransformerTypes {
  kernels::DType matrix = kernels::DType::kF32;
  Inputs inputs = Inputs::kFloats;
};

// Immutable; movable. Called on the executor.
class TransformerBlock {
 public:
  // Loads the tensors `prefix` + "ln_1.weight" and so on. The loader's checkpoint and the observer,
  // which may be null, must outlive the block. Errors as from WeightLoader and LoadActivation.
  static absl::StatusOr<TransformerBlock> Load(WeightLoader& loader, const std::string& prefix,
                                               const TransformerBlockConfig& config,
                                               const TransformerTypes& types, int64_t layer,
                                               TransformerObserver* observer);

  // The location of keys and values in the blocks of a sequence.
  struct Cache {
    kernels::KvLayout layout;
    int64_t offset = 0;  // of this layer in each block, in bytes
  };

  // Adds addend[T,d], unless it is empty, and then the attention's output to residual[T,d]. Writes
  // the feed-forward's output, which is not yet added, to out[T,d]. out may alias addend. Writes
  // the runs' keys and values to their cache. `scratch` must have ScratchBytes(T) bytes; its
  // contents need not be kept between calls.
  void Forward(const kernels::Context& context, std::span<const kernels::AttentionRun> runs,
               const Cache& cache, kernels::MatrixView<const float> addend,
               kernels::MatrixView<float> residual, Arena scratch,
               kernels::MatrixView<float> out) const;
  int64_t ScratchBytes(int64_t rows) const;

  // Appends every weight that Forward reads.
  void AppendWeights(std::vector<std::span<const std::byte>>& weights) const;

 private:
  struct Scratch {
    kernels::MatrixView<float> qkv;    // [T,3d]
    kernels::MatrixView<float> y;      // [T,d]
    kernels::MatrixView<float> inner;  // [T,F]; empty with static codes
    Rows u;                            // [T,d], in the form of a product's inputs
    Rows activated;                    // [T,F], codes; empty with floats
  };
  Scratch Lay(Arena& arena, int64_t rows) const;
  // Returns `values`, [T,d] or [T,F], as inputs of `product`: unchanged, or as codes that are
  // written to `codes`.
  Rows InputsOf(const kernels::Context& context, const Linear& product,
                kernels::MatrixView<float> values, const Rows& codes) const;
  void FeedForward(const kernels::Context& context, const Scratch& scratch,
                   kernels::MatrixView<float> out) const;
  void Observe(TransformerSite site, kernels::MatrixView<const float> values) const;

  int64_t width_ = 0, inner_width_ = 0, layer_ = 0;
  float attention_scale_ = 1;
  TransformerTypes types_;
  TransformerObserver* observer_ = nullptr;
  Norm attention_norm_, feed_forward_norm_;
  Linear attention_in_, attention_out_;  // [3d,d], [d,d]
  Linear feed_forward_in_, feed_forward_out_;
  kernels::ActivationFunction activation_;
  float table_scale_ = 1;      // of the codes that index table_
  std::vector<int8_t> table_;  // empty: the activation is computed
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_
