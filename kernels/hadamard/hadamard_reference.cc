#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/hadamard/hadamard.h"

namespace whipsnake::kernels::reference {
namespace {

// The quadratic character of a modulo the prime q: 0 for multiples of q, 1 for squares, otherwise
// -1.
constexpr int Character(int64_t a, int64_t q) {
  a = (a % q + q) % q;
  if (a == 0) return 0;
  for (int64_t root = 1; root < q; ++root) {
    if (root * root % q == a) return 1;
  }
  return -1;
}

// Paley's second construction with q = 5, from the symmetric conference matrix of order 6: 0
// becomes the block [[1,-1],[-1,-1]], and ±1 becomes ±[[1,1],[1,-1]].
constexpr int Factor12(int64_t i, int64_t j) {
  const int64_t a = i / 2, b = j / 2;
  const int conference = a == b ? 0 : a == 0 || b == 0 ? 1 : Character(a - b, 5);
  const int lower_right = i % 2 && j % 2 ? -1 : 1;
  if (conference != 0) return conference * lower_right;
  return i % 2 == 0 && j % 2 == 0 ? 1 : -1;
}

// Paley's first construction with q = 19. Not symmetric, because -1 is not a square modulo 19.
constexpr int Factor20(int64_t i, int64_t j) {
  if (i == 0) return j == 0 ? 1 : -1;
  if (j == 0 || i == j) return 1;
  return -Character(j - i, 19);
}

constexpr int Factor40(int64_t i, int64_t j) {
  return (i >= 20 && j >= 20 ? -1 : 1) * Factor20(i % 20, j % 20);
}

// Computes all entries at compile time, because a dense product reads millions of them.
template <int kOrder>
constexpr auto Tabulate(int (*factor)(int64_t i, int64_t j)) {
  std::array<std::array<int8_t, kOrder>, kOrder> table{};
  for (int i = 0; i < kOrder; ++i) {
    for (int j = 0; j < kOrder; ++j) table[i][j] = static_cast<int8_t>(factor(i, j));
  }
  return table;
}
constexpr auto kFactor12 = Tabulate<12>(Factor12);
constexpr auto kFactor40 = Tabulate<40>(Factor40);

// Returns the order of the factor, or 1 if there is none.
int64_t FactorOrder(int64_t n) {
  for (const int64_t order : {12, 40}) {
    if (n % order == 0 && std::has_single_bit(static_cast<uint64_t>(n / order))) return order;
  }
  return 1;
}

template <typename T, typename Write>
void Transform(MatrixView<const float> x, float scale, MatrixView<T> y, const Write& write) {
  std::vector<double> sums(x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) {
      sums[i] = 0;
      for (int64_t j = 0; j < x.cols; ++j) {
        sums[i] += double{HadamardEntry(x.cols, i, j)} * x.row(t)[j];
      }
    }
    for (int64_t i = 0; i < x.cols; ++i) {
      write(y.row(t)[i], static_cast<float>(scale * sums[i]));
    }
  }
}

}  // namespace

float HadamardEntry(int64_t n, int64_t i, int64_t j) {
  const int64_t order = FactorOrder(n);
  const int64_t m = n / order;
  const int factor = order == 12   ? kFactor12[i / m][j / m]
                     : order == 40 ? kFactor40[i / m][j / m]
                                   : 1;
  const bool odd = std::popcount(static_cast<uint64_t>((i % m) & (j % m))) % 2 != 0;
  return static_cast<float>(odd ? -factor : factor);
}

void Hadamard(MatrixView<const float> x, float scale, MatrixView<float> y) {
  Transform(x, scale, y, [](float& to, float value) { to = value; });
}

void Hadamard(MatrixView<const float> x, float scale, MatrixView<int8_t> y) {
  Transform(x, scale, y, [](int8_t& to, float value) { to = ToCode(value); });
}

void Quantize(MatrixView<const float> x, const float* multiplier, MatrixView<int8_t> y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) y.row(t)[i] = ToCode(x.row(t)[i] * multiplier[i]);
  }
}

}  // namespace whipsnake::kernels::reference
