#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/attention.h"

namespace whipsnake::kernels::reference {
namespace {

// The place of one head's position in the cache.
struct Place {
  std::byte* head;
  int64_t row;  // in the block

  Place(const AttentionRun& run, const AttentionArguments& a, int64_t position, int64_t h)
      : head(run.blocks[position / kKvBlock] + a.offset + h * a.layout.HeadBytes()),
        row(position % kKvBlock) {}
};

float* ScaleOf(const KvLayout& layout, const Place& place, bool value) {
  auto* scales = reinterpret_cast<float*>(place.head + layout.ScalesBegin());
  return scales + (value ? kKvBlock : 0) + place.row;
}

int64_t IndexOf(const KvLayout& layout, const Place& place, bool value, int64_t d) {
  if (!value) return d * kKvBlock + place.row;
  return layout.head_dim * kKvBlock + place.row * layout.PaddedDim() + d;
}

void Write(const KvLayout& layout, const Place& place, bool value, const float* x) {
  float scale = 1;
  if (layout.dtype == DType::kI8) {
    float largest = 0;
    for (int64_t d = 0; d < layout.head_dim; ++d) largest = std::max(largest, std::abs(x[d]));
    scale = largest / 127.0f;
    *ScaleOf(layout, place, value) = scale;
  }
  for (int64_t d = 0; d < layout.head_dim; ++d) {
    const int64_t i = IndexOf(layout, place, value, d);
    switch (layout.dtype) {
      case DType::kBF16:
        reinterpret_cast<uint16_t*>(place.head)[i] = ToBF16(x[d]);
        break;
      case DType::kI8:
        reinterpret_cast<int8_t*>(place.head)[i] = ToCode(x[d] * (scale == 0 ? 0 : 1 / scale));
        break;
      default:
        reinterpret_cast<float*>(place.head)[i] = x[d];
    }
  }
}

double Read(const KvLayout& layout, const Place& place, bool value, int64_t d) {
  const int64_t i = IndexOf(layout, place, value, d);
  switch (layout.dtype) {
    case DType::kBF16:
      return FromBF16(reinterpret_cast<const uint16_t*>(place.head)[i]);
    case DType::kI8:
      return double{*ScaleOf(layout, place, value)} *
             reinterpret_cast<const int8_t*>(place.head)[i];
    default:
      return reinterpret_cast<const float*>(place.head)[i];
  }
}

void AttendRow(const AttentionRun& run, const AttentionArguments& a, int64_t i, int64_t h) {
  const int64_t D = a.layout.head_dim;
  const int64_t seen = run.position + (a.causal ? i + 1 : run.length);
  const float* q = a.q.row(run.begin + i) + h * D;
  std::vector<double> scores(seen);
  for (int64_t j = 0; j < seen; ++j) {
    for (int64_t d = 0; d < D; ++d) scores[j] += q[d] * Read(a.layout, {run, a, j, h}, false, d);
    scores[j] *= a.scale;
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> y(D);
  for (int64_t j = 0; j < seen; ++j) {
    const double weight = std::exp(scores[j] - largest);
    sum += weight;
    for (int64_t d = 0; d < D; ++d) y[d] += weight * Read(a.layout, {run, a, j, h}, true, d);
  }
  for (int64_t d = 0; d < D; ++d) {
    a.y.row(run.begin + i)[h * D + d] = static_cast<float>(y[d] / sum);
  }
}

}  // namespace

void Attention(std::span<const AttentionRun> runs, const AttentionArguments& a) {
  for (const AttentionRun& run : runs) {
    for (int64_t h = 0; h < a.layout.heads; ++h) {
      const int64_t column = h * a.layout.head_dim;
      for (int64_t i = 0; i < run.length; ++i) {
        const Place place(run, a, run.position + i, h);
        Write(a.layout, place, false, a.k.row(run.begin + i) + column);
        Write(a.layout, place, true, a.v.row(run.begin + i) + column);
      }
      for (int64_t i = 0; i < run.length; ++i) AttendRow(run, a, i, h);
    }
  }
}

}  // namespace whipsnake::kernels::reference
