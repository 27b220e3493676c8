// Pruning to the elements of largest magnitude.
//
// The magnitude of the last element that is kept is found by a radix selection: as integers of 31
// bits, magnitudes have the order of the numbers, and a histogram of their high digits tells in
// which digit the wanted one is, one of the low digits which it is. Every share counts its own rows
// and so knows where it writes.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/compression/compression.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace whipsnake::kernels {
namespace {

constexpr double kNanosecondsEach = 2;
constexpr int kDigitBits = 16;
constexpr int64_t kDigits = 1 << kDigitBits;

uint32_t Magnitude(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffff; }

// What a share keeps: all magnitudes above the threshold, and the first `ties` that equal it.
struct PrunedPart {
  uint32_t threshold;
  int64_t ties;
  int64_t begin;  // where the share writes
};

// Finds the magnitudes to keep. The rows are shared among the threads in the same way in every
// pass.
class Selection {
 public:
  Selection(const Context& context, MatrixView<const float> x, int64_t k)
      : x_(x),
        team_(kNanosecondsEach * static_cast<double>(x.rows * x.cols) < kWorthATeam ? Alone(context)
                                                                                    : context),
        left_(k),
        above_(Threads(team_)),
        scratch_(context),
        counts_(scratch_.Get<uint32_t>(shares() * kDigits)) {}

  // Returns what each share keeps.
  std::vector<PrunedPart> Select() {
    const uint32_t high = SelectDigit(
        [](uint32_t magnitude, uint32_t* counts) { ++counts[magnitude >> kDigitBits]; });
    const uint32_t low = SelectDigit([high](uint32_t magnitude, uint32_t* counts) {
      if (magnitude >> kDigitBits == high) ++counts[magnitude % kDigits];
    });
    std::vector<PrunedPart> parts;
    int64_t begin = 0;
    for (int64_t share = 0; share < shares(); ++share) {
      const int64_t ties = std::min<int64_t>(left_, Counts(share)[low]);
      parts.push_back({high << kDigitBits | low, ties, begin});
      begin += above_[share] + ties;
      left_ -= ties;
    }
    return parts;
  }

  // Calls work(share, t) for every row.
  template <typename Work>
  void ForEachRow(const Work& work) const {
    const int64_t longest = (x_.rows + shares() - 1) / shares();
    const double nanoseconds = kNanosecondsEach * static_cast<double>(x_.rows * x_.cols);
    ForEachPiece(team_, longest, nanoseconds, [&](int64_t first, int64_t last) {
      ForEachShare(team_, [&](const Context&, int64_t share) {
        const int64_t begin = x_.rows * share / shares();
        const int64_t end = std::min(begin + last, x_.rows * (share + 1) / shares());
        for (int64_t t = begin + first; t < end; ++t) work(share, t);
      });
    });
  }

 private:
  int64_t shares() const { return std::ssize(above_); }
  uint32_t* Counts(int64_t share) const { return counts_ + share * kDigits; }

  // Returns the digit of the magnitude of the last element that is kept. count(magnitude, counts)
  // counts the digit of one magnitude. The elements above the digit are kept.
  template <typename Count>
  uint32_t SelectDigit(const Count& count) {
    std::fill_n(counts_, shares() * kDigits, 0u);
    ForEachRow([&](int64_t share, int64_t t) {
      const float* row = x_.row(t);
      uint32_t* const counts = Counts(share);
      for (int64_t i = 0; i < x_.cols; ++i) {
        count(Magnitude(row[i]), counts);
      }
    });
    for (uint32_t digit = kDigits - 1;; --digit) {
      int64_t total = 0;
      for (int64_t share = 0; share < shares(); ++share) total += Counts(share)[digit];
      if (total >= left_) return digit;
      left_ -= total;
      for (int64_t share = 0; share < shares(); ++share) above_[share] += Counts(share)[digit];
    }
  }

  MatrixView<const float> x_;
  Context team_;
  int64_t left_;                // how many are to be kept of those that are not above
  std::vector<int64_t> above_;  // for each share, how many are certainly kept
  OperationScratch scratch_;
  uint32_t* counts_;  // [shares][kDigits]
};

// Writes what the row keeps and advances part.begin and part.ties. `first` is the index of the
// row's first element.
void KeepOfRow(const float* x, int64_t columns, int64_t first, PrunedPart& part, int32_t* indices,
               float* values) {
  // Every element is written and then replaced by the next one if it is not kept, because a branch
  // would often be mispredicted. Here that cannot spill into the part of another share.
  constexpr int64_t kPiece = 256;
  int32_t piece_indices[kPiece];
  float piece_values[kPiece];
  for (int64_t begin = 0; begin < columns; begin += kPiece) {
    const int64_t end = std::min(begin + kPiece, columns);
    int64_t count = 0;
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t magnitude = Magnitude(x[i]);
      piece_indices[count] = static_cast<int32_t>(first + i);
      piece_values[count] = x[i];
      count += magnitude > part.threshold;
      if (magnitude == part.threshold && part.ties > 0) {
        ++count;
        --part.ties;
      }
    }
    std::copy_n(piece_indices, count, indices + part.begin);
    std::copy_n(piece_values, count, values + part.begin);
    part.begin += count;
  }
}

}  // namespace

void Prune(const Context& context, MatrixView<const float> x, int64_t k, int32_t* indices,
           float* values) {
  if (k == 0) return;
  Selection selection(context, x, k);
  std::vector<PrunedPart> parts = selection.Select();
  selection.ForEachRow([&](int64_t share, int64_t t) {
    KeepOfRow(x.row(t), x.cols, t * x.cols, parts[share], indices, values);
  });
}

void Unprune(const Context& context, const int32_t* indices, const float* values, int64_t k,
             MatrixView<float> x) {
  constexpr double kUnpruneNanosecondsEach = 0.3;
  ParallelRows(context, x.rows, kUnpruneNanosecondsEach * static_cast<double>(x.rows * x.cols),
               [&](const Context&, int64_t begin, int64_t end) {
                 int64_t j = std::lower_bound(indices, indices + k, begin * x.cols) - indices;
                 for (int64_t t = begin; t < end; ++t) {
                   float* const row = x.row(t);
                   std::fill_n(row, x.cols, 0.0f);
                   for (; j < k && indices[j] < (t + 1) * x.cols; ++j) {
                     row[indices[j] - t * x.cols] = values[j];
                   }
                 }
               });
}

}  // namespace whipsnake::kernels
