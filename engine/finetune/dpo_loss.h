// The loss of direct preference optimization for one pair (Rafailov et al., arXiv 2305.18290):
//
//   r(y) = β (s(y) - s_ref(y));   m = r(chosen) - r(rejected);   loss = -log σ(m)
//
// where s is the sum of log p over a response's tokens.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DPO_LOSS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DPO_LOSS_H_

#include <algorithm>
#include <cmath>

namespace whipsnake::engine {

struct DpoPair {
  double chosen = 0, rejected = 0;                      // s
  double reference_chosen = 0, reference_rejected = 0;  // s_ref
};

struct DpoLoss {
  double loss = 0;
  double margin = 0;      // m
  double derivative = 0;  // of the loss for s(chosen); that for s(rejected) is its negative
};

// Exact for every margin, without overflow.
inline DpoLoss ComputeDpoLoss(const DpoPair& pair, double beta) {
  const double margin = beta * (pair.chosen - pair.reference_chosen) -
                        beta * (pair.rejected - pair.reference_rejected);
  return {.loss = std::max(-margin, 0.0) + std::log1p(std::exp(-std::abs(margin))),
          .margin = margin,
          .derivative = -beta / (1 + std::exp(margin))};
}

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DPO_LOSS_H_
