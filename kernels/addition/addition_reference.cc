#include "kernels/addition/addition.h"

namespace whipsnake::kernels::reference {

void Add(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> y) {
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t i = 0; i < y.cols; ++i) y.row(t)[i] = a.row(t)[i] + b.row(t)[i];
  }
}

}  // namespace whipsnake::kernels::reference
