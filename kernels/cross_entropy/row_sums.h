// What the loss needs to know of all logits of a row.
#ifndef WHIPSNAKE_KERNELS_CROSS_ENTROPY_ROW_SUMS_H_
#define WHIPSNAKE_KERNELS_CROSS_ENTROPY_ROW_SUMS_H_

namespace whipsnake::kernels {

struct RowSums {
  double exponentials = 0;  // of the differences from the largest logit
  double logits = 0;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CROSS_ENTROPY_ROW_SUMS_H_
