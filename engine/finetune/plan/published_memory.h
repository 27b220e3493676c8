// The memory of SlimFit as it was published (arXiv 2305.18513), for the models of its experiments:
// BERT-base and ViT-B. Arithmetic alone, for comparison with the paper; plans of models that can be
// trained here are in training_plan.h.
//
// Letters: B sequences of T tokens, H = 768 columns, A = 12 heads, L = 12 blocks. U = 4 B T H is
// the bytes of one fp32 matrix of activations, σ = A T / H the size of the attention scores in U.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_PLAN_PUBLISHED_MEMORY_H_
#define WHIPSNAKE_ENGINE_FINETUNE_PLAN_PUBLISHED_MEMORY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace whipsnake::engine {

enum class PublishedModel {
  kBert,  // with dropout
  kVit,   // without
};

struct PublishedSetup {
  std::string_view name;
  PublishedModel model = PublishedModel::kBert;
  int64_t batch = 0, tokens = 0;  // B, T
  int64_t layers = 0;             // that are scheduled
  double rate = 0;                // of them are frozen in a step
  int64_t parameters = 0;         // of the model with its head
};

// In bytes. Activations are those of the blocks: those of the embedding and the head, which are one
// or two U, and temporary ones are not counted.
struct PublishedMemory {
  double unit = 0;        // U
  double score_size = 0;  // σ
  int64_t active_layers = 0;
  double baseline = 0;  // activations of full fine-tuning
  double floor = 0;     // with all layers frozen
  double slimfit = 0;   // at the rate, at most
  // With weights, gradients and both moments of AdamW.
  double baseline_total = 0, slimfit_total = 0;
};

PublishedMemory PublishedMemoryOf(const PublishedSetup& setup);

// The setups of the paper's experiments.
std::span<const PublishedSetup> PublishedSetups();

// The memory of all of them, as a table in Markdown. It is that of docs/freezing.md, which a test
// compares with it.
std::string PublishedMemoryTable();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_PLAN_PUBLISHED_MEMORY_H_
