#include "engine/finetune/plan/published_memory.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kColumns = 768, kHeads = 12, kBlocks = 12;  // H, A, L

// What PyTorch saves in a block, in U. BERT, whose dropout masks have a byte for each element: the
// inputs of Q, K and V (one matrix), of the output and of FFN1, 3; that of FFN2, 4; of GELU, 4; of
// two norms, 2; Q, K and V, 3; two masks, 0.5; P before and after dropout and its mask, 2.25 σ. ViT
// has no dropout: 16 and one P.
double BaselineOfBlock(PublishedModel model, double score_size) {
  return model == PublishedModel::kBert ? 16.5 + 2.25 * score_size : 16 + score_size;
}

// What SlimFit saves in a block whose layers are all frozen, in U. Q and K in int8, 0.5; V in int8,
// 0.25; P in uint8, σ / 4; the argument of GELU in 4 bits, 0.5; 10% of the inputs of two norms with
// their indices, 0.4. BERT also has the masks of V, 0.25, and of two outputs, 0.5.
double FloorOfBlock(PublishedModel model, double score_size) {
  return (model == PublishedModel::kBert ? 2.4 : 1.65) + score_size / 4;
}

// The parameters of the blocks: four matrices [H,H] and two of [4H,H] with biases, and two norms.
constexpr int64_t kBlockParameters =
    kBlocks * (12 * kColumns * kColumns + (4 + 5) * kColumns + 4 * kColumns);
// BERT's tables of tokens, positions and segments, with a norm.
constexpr int64_t BertParameters(int64_t vocabulary) {
  return kBlockParameters + (vocabulary + 512 + 2 + 2) * kColumns;
}
// ViT's patches of 16 x 16 pixels, class token, positions and last norm.
constexpr int64_t VitParameters(int64_t tokens) {
  return kBlockParameters + (16 * 16 * 3 + 1 + 1 + tokens + 2) * kColumns;
}
constexpr int64_t LinearParameters(int64_t outputs) { return (kColumns + 1) * outputs; }

constexpr int64_t kGlueParameters =
    BertParameters(28996) + LinearParameters(kColumns) + LinearParameters(2);  // with the pooler
constexpr int64_t kSquadParameters = BertParameters(30522) + LinearParameters(2);
constexpr int64_t kCifar10Parameters = VitParameters(197) + LinearParameters(10);
constexpr int64_t kCifar100Parameters = VitParameters(197) + LinearParameters(100);
constexpr int64_t kImageNetParameters = VitParameters(577) + LinearParameters(1000);

constexpr PublishedSetup kSetups[] = {
    {"GLUE", PublishedModel::kBert, 32, 128, 102, 0.95, kGlueParameters},
    {"GLUE", PublishedModel::kBert, 32, 128, 102, 0.90, kGlueParameters},
    {"GLUE", PublishedModel::kBert, 32, 128, 102, 0.80, kGlueParameters},
    {"SQuAD", PublishedModel::kBert, 128, 384, 101, 0.80, kSquadParameters},
    {"CIFAR-10", PublishedModel::kVit, 32, 197, 99, 0.90, kCifar10Parameters},
    {"CIFAR-100", PublishedModel::kVit, 32, 197, 100, 0.75, kCifar100Parameters},
    {"ImageNet", PublishedModel::kVit, 128, 577, 100, 0.95, kImageNetParameters}};

}  // namespace

PublishedMemory PublishedMemoryOf(const PublishedSetup& setup) {
  PublishedMemory memory;
  memory.unit = 4.0 * static_cast<double>(setup.batch * setup.tokens * kColumns);
  memory.score_size = static_cast<double>(kHeads * setup.tokens) / kColumns;
  const auto frozen = static_cast<int64_t>(setup.rate * static_cast<double>(setup.layers));
  memory.active_layers = setup.layers - frozen;
  const double blocks = kBlocks * memory.unit;
  memory.baseline = blocks * BaselineOfBlock(setup.model, memory.score_size);
  memory.floor = blocks * FloorOfBlock(setup.model, memory.score_size);
  // An active layer saves its input, which is 1 U or, for FFN2, 4 U in int8.
  memory.slimfit = memory.floor + static_cast<double>(memory.active_layers) * memory.unit;
  // Weights, m and v have 4 bytes for each parameter, and m and v stay when a layer is frozen. Of
  // the gradients there are, in the mean, those of the active part.
  const auto parameters = static_cast<double>(setup.parameters);
  const double active_part =
      static_cast<double>(memory.active_layers) / static_cast<double>(setup.layers);
  memory.baseline_total = memory.baseline + 16 * parameters;
  memory.slimfit_total = memory.slimfit + (12 + 4 * active_part) * parameters;
  return memory;
}

std::span<const PublishedSetup> PublishedSetups() { return kSetups; }

std::string PublishedMemoryTable() {
  std::string table =
      "| Setup | rate | U, MB | σ | full, GB | floor, GB | SlimFit, GB | ratio | total: full, GB | "
      "SlimFit, GB | ratio |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const PublishedSetup& setup : kSetups) {
    const PublishedMemory memory = PublishedMemoryOf(setup);
    absl::StrAppendFormat(
        &table,
        "| %s, %d x %d | %.2f | %.1f | %.2f | %.2f | %.2f | %.2f | %.1f | %.2f | %.2f | %.1f |\n",
        std::string(setup.name), setup.batch, setup.tokens, setup.rate, memory.unit / 1e6,
        memory.score_size, memory.baseline / 1e9, memory.floor / 1e9, memory.slimfit / 1e9,
        memory.baseline / memory.slimfit, memory.baseline_total / 1e9, memory.slimfit_total / 1e9,
        memory.baseline_total / memory.slimfit_total);
  }
  return table;
}

}  // namespace whipsnake::engine
