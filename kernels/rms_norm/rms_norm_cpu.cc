#include <cmath>
#include <cstdint>

#include "kernels/cpu/team.h"
#include "kernels/rms_norm/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm/rms_norm_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// r += h where there is an h; returns Σ r². Two sums, so that one addition need not wait for
// another.
float AddAndSquare(const float* h, float* r, int64_t columns) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  const auto add = [&](int64_t at) HWY_ATTR {
    auto value = hn::LoadU(d, r + at);
    if (h != nullptr) {
      value = hn::Add(value, hn::LoadU(d, h + at));
      hn::StoreU(value, d, r + at);
    }
    return value;
  };
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= columns; i += 2 * lanes) {
    const auto first = add(i);
    const auto second = add(i + lanes);
    even = hn::MulAdd(first, first, even);
    odd = hn::MulAdd(second, second, odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < columns; ++i) {
    if (h != nullptr) r[i] += h[i];
    sum += r[i] * r[i];
  }
  return sum;
}

void Scale(const float* r, const float* gamma, float scale, int64_t columns, float* y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= columns; i += lanes) {
    const auto normed = hn::Mul(hn::LoadU(d, r + i), scales);
    hn::StoreU(hn::Mul(hn::LoadU(d, gamma + i), normed), d, y + i);
  }
  for (; i < columns; ++i) y[i] = gamma[i] * (r[i] * scale);
}

void NormalizeRow(const float* h, float* r, const float* gamma, float epsilon, int64_t columns,
                  float* y) {
  const float mean = AddAndSquare(h, r, columns) / static_cast<float>(columns);
  Scale(r, gamma, 1.0f / std::sqrt(mean + epsilon), columns, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(NormalizeRow);

// A team costs some microseconds; with fewer elements one core is done sooner.
constexpr int64_t kTeamElements = 32 << 10;

}  // namespace

void ResidualRmsNorm(MatrixView<const float> h, MatrixView<float> residual, const float* gamma,
                     float epsilon, MatrixView<float> y) {
  const auto normalize = HWY_DYNAMIC_DISPATCH(NormalizeRow);
  const auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      normalize(h.empty() ? nullptr : h.row(t), residual.row(t), gamma, epsilon, residual.cols,
                y.row(t));
    }
  };
  Team& team = Team::Current();
  if (residual.rows * residual.cols < kTeamElements) return rows(0, residual.rows);
  team.Run([&](int64_t share) {
    rows(residual.rows * share / team.threads(), residual.rows * (share + 1) / team.threads());
  });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
