#include <algorithm>
#include <cmath>

#include "kernels/activation/activation_cells.h"

namespace whipsnake::kernels::reference {

void EncodeCells(const ActivationCells& cells, const float* x, int64_t n, uint8_t* codes) {
  for (int64_t i = 0; i < n + n % 2; ++i) {
    const float place = (i < n ? x[i] : 0) / cells.width;
    const float cell = cells.centered ? std::nearbyint(place) : std::ceil(place) - 1;
    const int code = std::isnan(cell) ? 0 : static_cast<int>(std::clamp(cell, -8.0f, 7.0f));
    uint8_t& byte = codes[i / 2];
    byte = static_cast<uint8_t>(i % 2 == 0 ? code & 15 : byte | code << 4);
  }
}

double ActivateBackwardFromCells(const ActivationCellTable& table, const uint8_t* codes,
                                 const float* g, int64_t n, float* gx) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int cell = i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
    sum += double{g[i]} * table.correction[cell];
    gx[i] = g[i] * table.slope[cell];
  }
  return sum;
}

}  // namespace whipsnake::kernels::reference
