#include <cmath>

#include "kernels/activation/activation.h"
#include "kernels/selective_scan/selective_scan.h"

namespace whipsnake::kernels::reference {

void SelectiveScan(std::span<const ScanRun> runs, const SelectiveScanOperands& o) {
  const int64_t channels = o.x.cols;
  const int64_t states = o.b.cols;
  for (const ScanRun& run : runs) {
    for (int64_t t = run.begin; t < run.begin + run.length; ++t) {
      for (int64_t e = 0; e < channels; ++e) {
        const double x = o.x.row(t)[e];
        float step = o.delta.row(t)[e] + (o.delta_bias != nullptr ? o.delta_bias[e] : 0.0f);
        Softplus(&step, 1, &step);
        double y = o.d[e] * x;
        for (int64_t n = 0; n < states; ++n) {
          float& h = run.state[n * channels + e];
          h = static_cast<float>(std::exp(double{step} * o.a[n * channels + e]) * h +
                                 step * x * o.b.row(t)[n]);
          y += double{h} * o.c.row(t)[n];
        }
        float gate = o.z.row(t)[e];
        Silu(&gate, 1, &gate);
        o.y.row(t)[e] = static_cast<float>(y * gate);
      }
    }
  }
}

}  // namespace whipsnake::kernels::reference
