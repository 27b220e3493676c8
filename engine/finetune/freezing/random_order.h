// Random orders of layers and blocks.
//
// Item i has the key x[i] + G[i], where x[i] is its logit and G[i] = -ln(-ln u[i]) is Gumbel noise.
// By falling keys, items come in the order of draws without replacement in which an item is drawn
// with a probability proportional to exp(x[i]) among those that are left (Yellott, Journal of
// Mathematical Psychology 15, 1977). Equal logits give each permutation the same probability.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_RANDOM_ORDER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_RANDOM_ORDER_H_

#include <cstdint>
#include <span>
#include <vector>

namespace whipsnake::engine {

// Returns a permutation of 0, 1, ..., |logits| - 1. It is a function of the arguments. Logits are
// finite.
std::vector<int64_t> RandomOrder(uint64_t seed, int64_t draw, std::span<const double> logits);
// The same with equal logits.
std::vector<int64_t> RandomOrder(uint64_t seed, int64_t draw, int64_t items);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_RANDOM_ORDER_H_
