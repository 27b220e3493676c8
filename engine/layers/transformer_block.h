// A transformer block, in float or 8-bit arithmetic: attention and a feed-forward, each with a norm
// and a residual connection. With the norms before the layers:
//
//   r += h;  u = norm(r);  [q;k;v] = W_a u + b_a;  y = attention(q, k, v)
//   r += W_o y + b_o;  u = norm(r);  h' = W_2 f(W_1 u + b_1) + b_2
//
// and after them:
//
//   [q;k;v] = W_a r + b_a;  y = attention(q, k, v)
//   r' = norm(r + W_o y + b_o);  r'' = norm(r' + W_2 f(W_1 r' + b_1) + b_2)
//
// Sources: Vaswani et al., arXiv 1706.03762, section 3 (norms after); Radford et al., Language
// Models are Unsupervised Multitask Learners (GPT-2), section 2.3 (norms before). If f is CRReLU,
// each block has its own ε (arXiv 2405.12954).
//
// Letters: T tokens of all runs, d model width, F inner width.
//
// Tensors of a quantized block, beside those that it has from the float checkpoint (X.qweight is
// [outputs, inputs], X.scale has one scale per output):
//
//   each product X   X.qweight, X.scale, X.bias and, with static codes, X.input_scale
//   activation       input_scale, of the codes that index the activation's table, if it has one
#ifndef WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_
#define WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/arena.h"
#include "engine/layers/activation.h"
#include "engine/layers/block.h"
#include "engine/layers/kv_state.h"
#include "engine/layers/linear.h"
#include "engine/layers/norm.h"
#include "engine/layers/rows.h"
#include "engine/layers/weights.h"
#include "kernels/activation/activation.h"

namespace whipsnake::engine {

// Where a value is observed, in the order of the equations.
enum class TransformerSite {
  kAttentionInput,    // the inputs of W_a [T,d]
  kAttentionOutput,   // y [T,d]
  kFeedForwardInput,  // the inputs of W_1 [T,d]
  kActivationInput,   // W_1 u + b_1 [T,F]
  kActivation,        // f(W_1 u + b_1) [T,F]
  kHeadInput,         // u of the language head [R,d]; the layer is the number of layers
};

// Observes the values that flow through a float model, to measure them. Called on the compute
// thread.
class TransformerObserver {
 public:
  virtual ~TransformerObserver() = default;
  virtual void Observe(const kernels::Context& context, int64_t layer, TransformerSite site,
                       kernels::MatrixView<const float> values) = 0;
};

// The names of a block's modules in the checkpoint, below the prefix of its layer.
struct TransformerNames {
  std::string attention_norm;
  // One module that makes queries, keys and values, or three.
  std::vector<std::string> attention_inputs;
  std::string attention_output;
  std::string feed_forward_norm;
  std::string feed_forward_input;
  std::string feed_forward_output;
  std::string activation;
};

enum class NormPlacement { kBefore, kAfter };

// What distinguishes the blocks of one transformer from those of another.
struct TransformerBlockConfig {
  int64_t hidden_size = 0;  // d
  int64_t inner_size = 0;   // F
  NormPlacement norm_placement = NormPlacement::kBefore;
  float norm_epsilon = 1e-5f;
  bool causal = true;         // whether a token attends only to itself and earlier tokens
  float attention_scale = 1;  // factor of the products of queries and keys
  bool attention_bias = true;
  bool feed_forward_bias = true;
  ActivationConfig activation;
  TransformerNames names;
  bool transposed_weights = false;  // whether products are stored as [inputs, outputs]
};

// The types of the weights and the inputs of a transformer's products.
struct TransformerTypes {
  kernels::DType matrix = kernels::DType::kF32;
  Inputs inputs = Inputs::kFloats;
};

// The states of its runs must be KvStates of the shape that it was loaded with. A block whose norms
// come after its layers takes a stream without a pending addend.
class TransformerBlock : public Block {
 public:
  // Loads the block `layer`, whose tensors' names begin with `prefix`. The loader's checkpoint and
  // the observer, which may be null, must outlive the block. Errors as from WeightLoader and
  // LoadActivation; UNIMPLEMENTED for codes with the norms after the layers.
  static absl::StatusOr<std::unique_ptr<Block>> Load(WeightLoader& loader,
                                                     const std::string& prefix,
                                                     const TransformerBlockConfig& config,
                                                     const TransformerTypes& types,
                                                     const KvShape& kv, int64_t layer,
                                                     TransformerObserver* observer);

  void Forward(const kernels::Context& context, std::span<const BlockRun> runs,
               ResidualStream& stream, Arena scratch) const override;
  int64_t ScratchBytes(int64_t rows) const override;
  void VisitParameters(ParameterVisitor visit) const override;

 private:
  struct Scratch {
    kernels::MatrixView<float> qkv;    // [T,3d]
    kernels::MatrixView<float> y;      // [T,d]
    kernels::MatrixView<float> inner;  // [T,F]; empty with static codes
    Rows u;                            // [T,d], in the form of a product's inputs
    Rows activated;                    // [T,F], codes; empty with floats
  };

  TransformerBlock(const TransformerBlockConfig& config, const TransformerTypes& types,
                   const KvShape& kv, int64_t layer, TransformerObserver* observer)
      : config_(config), types_(types), kv_(kv), layer_(layer), observer_(observer) {}

  absl::Status LoadProducts(WeightLoader& loader, const std::string& prefix);
  absl::Status LoadNorms(WeightLoader& loader, const std::string& prefix);
  absl::Status LoadActivations(WeightLoader& loader, const std::string& prefix);

  Scratch LayOut(Arena& arena, int64_t rows) const;
  // Returns the input of the layer that `norm` belongs to, in `u` if it is normalized.
  Rows InputOf(const kernels::Context& context, const Norm& norm, ResidualStream& stream,
               const Rows& u) const;
  // Adds the layer's output, stream.addend, to the stream.
  void AddOutput(const kernels::Context& context, const Norm& norm, ResidualStream& stream) const;
  // Returns `values`, [T,d] or [T,F], as inputs of `product`: unchanged, or as codes that are
  // written to `codes`.
  Rows InputsOf(const kernels::Context& context, const Linear& product,
                kernels::MatrixView<float> values, const Rows& codes) const;
  void Attend(const kernels::Context& context, std::span<const BlockRun> runs, const Rows& u,
              const Scratch& scratch, kernels::MatrixView<float> out) const;
  void FeedForward(const kernels::Context& context, const Rows& u, const Scratch& scratch,
                   kernels::MatrixView<float> out) const;
  void Observe(const kernels::Context& context, TransformerSite site,
               kernels::MatrixView<const float> values) const;

  const TransformerBlockConfig config_;
  const TransformerTypes types_;
  const KvShape kv_;
  const int64_t layer_;
  TransformerObserver* const observer_;
  Norm attention_norm_, feed_forward_norm_;
  std::vector<Linear> attention_inputs_;  // [3d,d] together
  Linear attention_output_;               // [d,d]
  Linear feed_forward_input_;             // [F,d]
  Linear feed_forward_output_;            // [d,F]
  std::string epsilon_name_;              // of CRReLU's ε
  kernels::ActivationFunction activation_;
  float table_scale_ = 1;      // of the codes that index table_
  std::vector<int8_t> table_;  // empty: the activation is computed
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_TRANSFORMER_BLOCK_H_
