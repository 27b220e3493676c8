#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "kernels/sequence_attention/sequence_attention.h"

// The arrays of vectors of block products need a vector size that is known at compile time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sequence_attention/sequence_attention_cpu.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
//
#include "kernels/activation/activation-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/dropout/dropout-inl.h"
#include "kernels/sequence_attention/block_product-inl.h"

#ifndef WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_CPU_CC_
#define WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_CPU_CC_
namespace whipsnake::kernels {

// Queries or keys that are processed together: a multiple of every vector and of the four columns
// of a dropout group.
constexpr int64_t kBlock = 64;

// The next multiple of every vector.
constexpr int64_t Padded(int64_t n) { return (n + 15) / 16 * 16; }

// One head of one sequence. Its rows are counted from the sequence's first.
struct SequenceHead {
  const SequenceAttentionOperands& operands;
  RowRange sequence;
  int64_t head;

  int64_t Width() const { return operands.q.cols / operands.heads; }
  // The head's part of a matrix [T,H·D].
  template <typename T>
  MatrixView<T> Of(MatrixView<T> matrix, RowRange rows) const {
    return matrix.Rows(sequence.begin + rows.begin, rows.length).Columns(head * Width(), Width());
  }
  // The place of row i in a matrix [T,H].
  int64_t Place(int64_t i) const { return (sequence.begin + i) * operands.heads + head; }
  bool Drops() const { return operands.dropout.probability > 0; }
};

// A block of queries and a block of keys of a head. Matrices of a pair have a row of kBlock
// elements per key: the lanes of a vector are queries.
struct BlockPair {
  RowRange queries, keys;
  bool diagonal;  // whether query i attends only to the keys up to i, counted within the blocks

  // Scores are computed for this many queries. Those past the last are of zeros.
  int64_t PaddedQueries() const { return Padded(queries.length); }
};

// Calls work(block) for each block of the first `rows` rows.
template <typename Work>
void ForEachBlock(int64_t rows, const Work& work) {
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    work(RowRange{begin, std::min(kBlock, rows - begin)});
  }
}

// Calls work(pair) for the given queries and each block of keys to which they attend.
template <typename Work>
void ForEachPair(const SequenceHead& head, RowRange queries, const Work& work) {
  const bool causal = head.operands.causal;
  const int64_t seen = causal ? queries.begin + queries.length : head.sequence.length;
  ForEachBlock(seen, [&](RowRange keys) {
    work(BlockPair{queries, keys, causal && keys.begin == queries.begin});
  });
}

// Divides memory into arrays of multiples of a vector.
class ScratchArrays {
 public:
  explicit ScratchArrays(float* memory) : next_(memory) {}
  float* Take(int64_t count) { return std::exchange(next_, next_ + count); }

 private:
  float* next_;
};

// Scratch memory of the forward pass of a head of `length` rows, at least Size() floats. A
// transpose is [padded,kBlock].
struct ForwardScratch {
  float *k, *v;                     // [length,padded] each
  float *q, *q_transpose, *y;       // [kBlock,padded] each
  float *scores, *factors;          // [kBlock,kBlock] each
  float *largest, *sums, *rescale;  // [kBlock] each

  static int64_t Size(int64_t length, int64_t padded) {
    return 2 * length * padded + kBlock * (3 * padded + 2 * kBlock + 3);
  }
  ForwardScratch(int64_t length, int64_t padded, float* memory) {
    ScratchArrays arrays(memory);
    for (float** rows : {&k, &v}) *rows = arrays.Take(length * padded);
    for (float** block : {&q, &q_transpose, &y}) *block = arrays.Take(kBlock * padded);
    for (float** block : {&scores, &factors}) *block = arrays.Take(kBlock * kBlock);
    for (float** row : {&largest, &sums, &rescale}) *row = arrays.Take(kBlock);
  }
};

// Scratch memory of the backward pass of a head of `length` rows, at least Size() floats. A
// transpose is [padded,kBlock].
struct BackwardScratch {
  float *k, *v, *gk, *gv;                         // [length,padded] each
  float *q, *q_transpose, *g, *g_transpose, *gq;  // [kBlock,padded] each
  float *weights, *gradients, *factors;           // [kBlock,kBlock] each
  float *lse, *delta;                             // [kBlock] each

  static int64_t Size(int64_t length, int64_t padded) {
    return 4 * length * padded + kBlock * (5 * padded + 3 * kBlock + 2);
  }
  BackwardScratch(int64_t length, int64_t padded, float* memory) {
    ScratchArrays arrays(memory);
    for (float** rows : {&k, &v, &gk, &gv}) *rows = arrays.Take(length * padded);
    for (float** block : {&q, &q_transpose, &g, &g_transpose, &gq}) {
      *block = arrays.Take(kBlock * padded);
    }
    for (float** block : {&weights, &gradients, &factors}) *block = arrays.Take(kBlock * kBlock);
    for (float** row : {&lse, &delta}) *row = arrays.Take(kBlock);
  }
};

}  // namespace whipsnake::kernels
#endif  // WHIPSNAKE_KERNELS_SEQUENCE_ATTENTION_SEQUENCE_ATTENTION_CPU_CC_

HWY_BEFORE_NAMESPACE();
namespace whipsnake::kernels {
namespace HWY_NAMESPACE {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// --- Blocks --------------------------------------------------------------------------------------

// to[rows,padded] = from, where each row is padded with zeros.
void CopyRows(MatrixView<const float> from, float* to) {
  const int64_t padded = Padded(from.cols);
  for (int64_t i = 0; i < from.rows; ++i) {
    const float* row = from.row(i);
    float* copy = to + i * padded;
    ForEachVector(0, from.cols,
                  [=](int64_t d, auto part) HWY_ATTR { part.Store(part.Load(row + d), copy + d); });
    std::fill(copy + from.cols, copy + padded, 0.0f);
  }
}

// to = from[rows,padded] without the padding.
void WriteRows(const float* from, MatrixView<float> to) {
  const int64_t padded = Padded(to.cols);
  for (int64_t i = 0; i < to.rows; ++i) std::copy_n(from + i * padded, to.cols, to.row(i));
}

// transpose[padded,kBlock] = fromᵀ, where from is [rows,padded] and rows is a multiple of a vector.
// Four rows at a time become columns of four neighbouring elements.
void Transpose(const float* from, int64_t rows, int64_t padded, float* transpose) {
  const Floats d;
  HWY_ALIGN float fours[4 * kLanes];
  for (int64_t i = 0; i < rows; i += 4) {
    for (int64_t c = 0; c < padded; c += kLanes) {
      const float* at = from + i * padded + c;
      hn::StoreInterleaved4(hn::Load(d, at), hn::Load(d, at + padded), hn::Load(d, at + 2 * padded),
                            hn::Load(d, at + 3 * padded), d, fours);
      float* to = transpose + c * kBlock + i;
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        std::memcpy(to + lane * kBlock, fours + 4 * lane, 4 * sizeof(float));
      }
    }
  }
}

// Copies a block of queries, or of other rows per query, and adds rows of zeros up to a multiple of
// a vector. The transpose has the added rows too.
void CopyQueries(MatrixView<const float> from, float* to, float* transpose) {
  const int64_t rows = Padded(from.rows), padded = Padded(from.cols);
  CopyRows(from, to);
  std::fill(to + from.rows * padded, to + rows * padded, 0.0f);
  Transpose(to, rows, padded, transpose);
}

void CopyScaled(const float* from, int64_t count, float factor, float* to) {
  const FloatVec f = hn::Set(Floats(), factor);
  ForEachVector(0, count, [=](int64_t i, auto part) HWY_ATTR {
    part.Store(hn::Mul(part.Load(from + i), f), to + i);
  });
}

float Dot(const float* a, const float* b, int64_t count) {
  FloatVec sum = hn::Zero(Floats());
  ForEachVector(0, count, [&](int64_t i, auto part) HWY_ATTR {
    sum = hn::MulAdd(part.Load(a + i), part.Load(b + i), sum);
  });
  return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

// --- Products of a pair --------------------------------------------------------------------------

// products[j,i] = keys[j] · queries[i], where queries_transpose is [D,kBlock].
void MultiplyPair(const BlockPair& pair, int64_t D, const float* keys,
                  const float* queries_transpose, float* products) {
  std::fill_n(products, pair.keys.length * kBlock, 0.0f);
  MultiplyAdd({.M = pair.keys.length,
               .N = pair.PaddedQueries(),
               .K = D,
               .a = keys,
               .a_row = Padded(D),
               .a_column = 1,
               .b = queries_transpose,
               .b_stride = kBlock,
               .c = products,
               .c_stride = kBlock,
               .triangle = pair.diagonal ? Triangle::kUpperResult : Triangle::kNone});
}

// sums[i] += Σ_j weights[j,i] keys[j].
void AddToQueries(const BlockPair& pair, int64_t padded, const float* weights, const float* keys,
                  float* sums) {
  MultiplyAdd({.M = pair.queries.length,
               .N = padded,
               .K = pair.keys.length,
               .a = weights,
               .a_row = 1,
               .a_column = kBlock,
               .b = keys,
               .b_stride = padded,
               .c = sums,
               .c_stride = padded,
               .triangle = pair.diagonal ? Triangle::kLowerFactor : Triangle::kNone});
}

// sums[j] += Σ_i weights[j,i] queries[i].
void AddToKeys(const BlockPair& pair, int64_t padded, const float* weights, const float* queries,
               float* sums) {
  MultiplyAdd({.M = pair.keys.length,
               .N = padded,
               .K = pair.queries.length,
               .a = weights,
               .a_row = kBlock,
               .a_column = 1,
               .b = queries,
               .b_stride = padded,
               .c = sums,
               .c_stride = padded,
               .triangle = pair.diagonal ? Triangle::kUpperFactor : Triangle::kNone});
}

// The first query of the first vector with a query that attends to key j.
int64_t FirstVector(const BlockPair& pair, int64_t j) {
  return pair.diagonal ? j / kLanes * kLanes : 0;
}

// Computes the pair's factors of dropout, for whole groups of four keys.
void ComputeFactors(const SequenceHead& head, const BlockPair& pair, float* factors) {
  const Words d;
  const DropoutFactors mask(head.operands.dropout);
  const WordVec steps =
      hn::Mul(hn::Iota(d, 0), hn::Set(d, static_cast<uint32_t>(head.operands.heads)));
  for (int64_t j = 0; j < pair.keys.length; j += 4) {
    const WordVec group = hn::Set(d, static_cast<uint32_t>((pair.keys.begin + j) / 4));
    for (int64_t i = FirstVector(pair, j); i < pair.PaddedQueries(); i += kLanes) {
      const auto row = static_cast<uint32_t>(head.Place(pair.queries.begin + i));
      FloatVec factor[4];
      mask.Compute(hn::Add(hn::Set(d, row), steps), group, factor);
      for (int64_t w = 0; w < 4; ++w)
        hn::Store(factor[w], Floats(), factors + (j + w) * kBlock + i);
    }
  }
}

// matrix = matrix ∘ factors.
void ApplyFactors(const BlockPair& pair, const float* factors, float* matrix) {
  const Floats d;
  for (int64_t j = 0; j < pair.keys.length; ++j) {
    for (int64_t i = FirstVector(pair, j); i < pair.PaddedQueries(); i += kLanes) {
      const int64_t at = j * kBlock + i;
      hn::Store(hn::Mul(hn::Load(d, matrix + at), hn::Load(d, factors + at)), d, matrix + at);
    }
  }
}

// --- Forward -------------------------------------------------------------------------------------

// Turns products into weights relative to the largest score so far, for the kLanes queries from i
// on, and updates `largest` and `sums`. What was accumulated before must be multiplied by
// `rescale`.
void WeighQueries(const BlockPair& pair, int64_t i, float scale, const ForwardScratch& s) {
  const Floats d;
  const int64_t seen = pair.diagonal ? std::min(pair.keys.length, i + kLanes) : pair.keys.length;
  const FloatVec place = hn::Iota(d, static_cast<float>(i)), factor = hn::Set(d, scale);
  const FloatVec before = hn::Load(d, s.largest + i);
  FloatVec largest = before;
  for (int64_t j = 0; j < seen; ++j) {
    FloatVec score = hn::Mul(hn::Load(d, s.scores + j * kBlock + i), factor);
    if (pair.diagonal) {
      const auto attends = hn::Ge(place, hn::Set(d, static_cast<float>(j)));
      score = hn::IfThenElse(attends, score, hn::Set(d, kNever));
    }
    largest = hn::Max(largest, score);
    hn::Store(score, d, s.scores + j * kBlock + i);
  }
  const FloatVec rescale = Exp(d, hn::Sub(before, largest));
  FloatVec sum = hn::Mul(hn::Load(d, s.sums + i), rescale);
  for (int64_t j = 0; j < seen; ++j) {
    const FloatVec score = hn::Load(d, s.scores + j * kBlock + i);
    const FloatVec weight = Exp(d, hn::Sub(score, largest));
    sum = hn::Add(sum, weight);
    hn::Store(weight, d, s.scores + j * kBlock + i);
  }
  hn::Store(largest, d, s.largest + i);
  hn::Store(sum, d, s.sums + i);
  hn::Store(rescale, d, s.rescale + i);
}

void AttendToKeys(const SequenceHead& head, const BlockPair& pair, const ForwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D), keys = pair.keys.begin * padded;
  MultiplyPair(pair, D, s.k + keys, s.q_transpose, s.scores);
  for (int64_t i = 0; i < pair.PaddedQueries(); i += kLanes) {
    WeighQueries(pair, i, head.operands.scale, s);
  }
  for (int64_t i = 0; i < pair.queries.length; ++i) {
    float* y = s.y + i * padded;
    if (s.rescale[i] != 1) CopyScaled(y, padded, s.rescale[i], y);
  }
  if (head.Drops()) {
    ComputeFactors(head, pair, s.factors);
    ApplyFactors(pair, s.factors, s.scores);
  }
  AddToQueries(pair, padded, s.scores, s.v + keys, s.y);
}

void AttendQueries(const SequenceHead& head, RowRange queries, MatrixView<float> y, float* lse,
                   const ForwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D);
  CopyQueries(head.Of(head.operands.q, queries), s.q, s.q_transpose);
  std::fill_n(s.y, queries.length * padded, 0.0f);
  std::fill_n(s.largest, kBlock, kNever);
  std::fill_n(s.sums, kBlock, 0.0f);
  ForEachPair(head, queries, [&](const BlockPair& pair) { AttendToKeys(head, pair, s); });
  const MatrixView<float> to = head.Of(y, queries);
  for (int64_t i = 0; i < queries.length; ++i) {
    CopyScaled(s.y + i * padded, D, 1 / s.sums[i], to.row(i));
    lse[head.Place(queries.begin + i)] = s.largest[i] + std::log(s.sums[i]);
  }
}

void AttendHead(const SequenceHead& head, MatrixView<float> y, float* lse,
                const ForwardScratch& s) {
  const RowRange all{0, head.sequence.length};
  CopyRows(head.Of(head.operands.k, all), s.k);
  CopyRows(head.Of(head.operands.v, all), s.v);
  ForEachBlock(all.length, [&](RowRange queries) { AttendQueries(head, queries, y, lse, s); });
}

// --- Backward ------------------------------------------------------------------------------------

// Given q[i]·k[j] in `weights` and m[i,j] g[i]·v[j] in `gradients`, writes P and S (see the header)
// in their places.
void DifferentiateWeights(const BlockPair& pair, float scale, const BackwardScratch& s) {
  const Floats d;
  const FloatVec factor = hn::Set(d, scale);
  for (int64_t j = 0; j < pair.keys.length; ++j) {
    for (int64_t i = FirstVector(pair, j); i < pair.PaddedQueries(); i += kLanes) {
      float* weight = s.weights + j * kBlock + i;
      float* gradient = s.gradients + j * kBlock + i;
      const FloatVec p = Exp(d, hn::MulSub(hn::Load(d, weight), factor, hn::Load(d, s.lse + i)));
      const FloatVec centered = hn::Sub(hn::Load(d, gradient), hn::Load(d, s.delta + i));
      hn::Store(p, d, weight);
      hn::Store(hn::Mul(hn::Mul(p, centered), factor), d, gradient);
    }
  }
}

void DifferentiatePair(const SequenceHead& head, const BlockPair& pair, const BackwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D), keys = pair.keys.begin * padded;
  MultiplyPair(pair, D, s.k + keys, s.q_transpose, s.weights);
  MultiplyPair(pair, D, s.v + keys, s.g_transpose, s.gradients);
  if (head.Drops()) {
    ComputeFactors(head, pair, s.factors);
    ApplyFactors(pair, s.factors, s.gradients);
  }
  DifferentiateWeights(pair, head.operands.scale, s);
  if (head.Drops()) ApplyFactors(pair, s.factors, s.weights);
  AddToKeys(pair, padded, s.weights, s.g, s.gv + keys);
  AddToKeys(pair, padded, s.gradients, s.q, s.gk + keys);
  AddToQueries(pair, padded, s.gradients, s.k + keys, s.gq);
}

// Adds what the queries contribute to gk and gv, and writes their gq.
void DifferentiateQueries(const SequenceHead& head, RowRange queries, MatrixView<const float> y,
                          const float* lse, MatrixView<const float> g, MatrixView<float> gq,
                          const BackwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D);
  const MatrixView<const float> y_rows = head.Of(y, queries);
  CopyQueries(head.Of(head.operands.q, queries), s.q, s.q_transpose);
  CopyQueries(head.Of(g, queries), s.g, s.g_transpose);
  std::fill_n(s.gq, queries.length * padded, 0.0f);
  std::fill_n(s.lse, kBlock, 0.0f);
  std::fill_n(s.delta, kBlock, 0.0f);
  for (int64_t i = 0; i < queries.length; ++i) {
    s.lse[i] = lse[head.Place(queries.begin + i)];
    s.delta[i] = Dot(s.g + i * padded, y_rows.row(i), D);
  }
  ForEachPair(head, queries, [&](const BlockPair& pair) { DifferentiatePair(head, pair, s); });
  WriteRows(s.gq, head.Of(gq, queries));
}

void DifferentiateHead(const SequenceHead& head, MatrixView<const float> y, const float* lse,
                       MatrixView<const float> g, const SequenceAttentionGradients& gradients,
                       const BackwardScratch& s) {
  const RowRange all{0, head.sequence.length};
  const int64_t padded = Padded(head.Width());
  CopyRows(head.Of(head.operands.k, all), s.k);
  CopyRows(head.Of(head.operands.v, all), s.v);
  std::fill_n(s.gk, all.length * padded, 0.0f);
  std::fill_n(s.gv, all.length * padded, 0.0f);
  ForEachBlock(all.length, [&](RowRange queries) {
    DifferentiateQueries(head, queries, y, lse, g, gradients.q, s);
  });
  WriteRows(s.gk, head.Of(gradients.k, all));
  WriteRows(s.gv, head.Of(gradients.v, all));
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(AttendHead);
HWY_EXPORT(DifferentiateHead);

// The longest sequences come first: starting them early lets the threads finish together.
std::vector<SequenceHead> HeadsOf(std::span<const RowRange> sequences,
                                  const SequenceAttentionOperands& operands) {
  std::vector<RowRange> longest_first(sequences.begin(), sequences.end());
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [](const RowRange& a, const RowRange& b) { return a.length > b.length; });
  std::vector<SequenceHead> heads;
  for (const RowRange& sequence : longest_first) {
    for (int64_t head = 0; head < operands.heads; ++head) {
      heads.push_back({operands, sequence, head});
    }
  }
  return heads;
}

// Estimates the time of one thread for a head. A forward pass has two products per score.
double Nanoseconds(const SequenceHead& head, int products) {
  constexpr double kNanosecondsEach = 0.015;  // per product, score and column
  const auto length = static_cast<double>(head.sequence.length);
  return kNanosecondsEach * products * length * length * static_cast<double>(head.Width());
}

// Returns where the piece of heads that begins with `first` ends: as many as the team computes
// between two pauses, but at least one for each thread.
int64_t EndOfPiece(const Context& context, const std::vector<SequenceHead>& heads, int products,
                   int64_t first) {
  const int64_t count = std::ssize(heads);
  if (context.pauses == nullptr) return count;
  const int threads = Threads(context);
  double nanoseconds = 0;
  int64_t end = first;
  while (end < count) {
    nanoseconds += Nanoseconds(heads[end], products);
    if (end >= first + threads && nanoseconds > threads * context.pauses->piece) break;
    ++end;
  }
  return end;
}

// Calls work(head, scratch) for every head of every sequence.
template <typename Scratch, typename Work>
void ForEachHead(const Context& context, std::span<const RowRange> sequences,
                 const SequenceAttentionOperands& operands, int products, const Work& work) {
  const std::vector<SequenceHead> heads = HeadsOf(sequences, operands);
  double nanoseconds = 0;
  for (const SequenceHead& head : heads) nanoseconds += Nanoseconds(head, products);
  const Context team = nanoseconds < kWorthATeam ? Alone(context) : context;
  int64_t end = 0;
  while (end < std::ssize(heads)) {
    if (end > 0) Pause(team);
    std::atomic<int64_t> next{end};
    end = EndOfPiece(team, heads, products, end);
    ForEachShare(team, [&](const Context& own, int64_t) {
      OperationScratch memory(own);
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < end;) {
        const int64_t length = heads[i].sequence.length, padded = Padded(heads[i].Width());
        work(heads[i], Scratch(length, padded, memory.Get<float>(Scratch::Size(length, padded))));
      }
    });
  }
}

}  // namespace

void SequenceAttention(const Context& context, std::span<const RowRange> sequences,
                       const SequenceAttentionOperands& operands, MatrixView<float> y, float* lse) {
  const auto attend = HWY_DYNAMIC_DISPATCH(AttendHead);
  ForEachHead<ForwardScratch>(
      context, sequences, operands, /*products=*/2,
      [&](const SequenceHead& head, const ForwardScratch& s) { attend(head, y, lse, s); });
}

void SequenceAttentionBackward(const Context& context, std::span<const RowRange> sequences,
                               const SequenceAttentionOperands& operands, MatrixView<const float> y,
                               const float* lse, MatrixView<const float> g,
                               const SequenceAttentionGradients& gradients) {
  const auto differentiate = HWY_DYNAMIC_DISPATCH(DifferentiateHead);
  ForEachHead<BackwardScratch>(context, sequences, operands, /*products=*/5,
                               [&](const SequenceHead& head, const BackwardScratch& s) {
                                 differentiate(head, y, lse, g, gradients, s);
                               });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
