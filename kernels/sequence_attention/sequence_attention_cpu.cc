#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
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
  template <typename T>
  MatrixView<T> Of(MatrixView<T> matrix) const {
    return matrix.Rows(sequence.begin, sequence.length).Columns(head * Width(), Width());
  }
  // The place of row i in a matrix [T,H].
  int64_t Place(int64_t i) const { return (sequence.begin + i) * operands.heads + head; }
  bool Drops() const { return operands.dropout.probability > 0; }
};

// The queries [query, query + queries) and the keys [key, key + keys) of a head. Matrices of a pair
// have a row of kBlock elements per key: the lanes of a vector are queries.
struct BlockPair {
  int64_t query, queries;
  int64_t key, keys;
  bool diagonal;  // whether the n-th query attends only to the first n keys, counted from 1

  // Scores are computed for this many queries; those past the last are of zeros.
  int64_t PaddedQueries() const { return Padded(queries); }
};

// Calls work(first, rows) for each block of the first `rows` rows.
template <typename Work>
void ForEachBlock(int64_t rows, const Work& work) {
  for (int64_t first = 0; first < rows; first += kBlock) {
    work(first, std::min(kBlock, rows - first));
  }
}

// Calls work(pair) for the given queries and each block of keys to which they attend.
template <typename Work>
void ForEachPair(const SequenceHead& head, int64_t query, int64_t queries, const Work& work) {
  const bool causal = head.operands.causal;
  ForEachBlock(causal ? query + queries : head.sequence.length, [&](int64_t key, int64_t keys) {
    work(BlockPair{query, queries, key, keys, causal && key == query});
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

// Scratch memory of the forward pass of a block of queries, at least Size() floats.
struct ForwardScratch {
  float *q_transposed, *k, *v, *y;  // [padded,kBlock], [kBlock,padded] each
  float *scores, *factors;          // [kBlock,kBlock] each
  float *largest, *sums, *rescale;  // [kBlock] each

  static int64_t Size(int64_t padded) { return kBlock * (4 * padded + 2 * kBlock + 3); }
  ForwardScratch(int64_t padded, float* memory) {
    ScratchArrays arrays(memory);
    for (float** block : {&q_transposed, &k, &v, &y}) *block = arrays.Take(kBlock * padded);
    for (float** block : {&scores, &factors}) *block = arrays.Take(kBlock * kBlock);
    for (float** row : {&largest, &sums, &rescale}) *row = arrays.Take(kBlock);
  }
};

// Scratch memory of the backward pass of a head of `length` rows, at least Size() floats. A
// transpose is [padded,kBlock].
struct BackwardScratch {
  float *k, *v, *gk, *gv;                           // [length,padded] each
  float *q, *q_transposed, *g, *g_transposed, *gq;  // [kBlock,padded] each
  float *weights, *gradients, *factors;             // [kBlock,kBlock] each
  float *lse, *delta;                               // [kBlock] each

  static int64_t Size(int64_t length, int64_t padded) {
    return 4 * length * padded + kBlock * (5 * padded + 3 * kBlock + 2);
  }
  BackwardScratch(int64_t length, int64_t padded, float* memory) {
    ScratchArrays arrays(memory);
    for (float** rows : {&k, &v, &gk, &gv}) *rows = arrays.Take(length * padded);
    for (float** block : {&q, &q_transposed, &g, &g_transposed, &gq}) {
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

// Copies the rows and pads each with zeros.
void CopyRows(MatrixView<const float> from, float* to) {
  const int64_t padded = Padded(from.cols);
  for (int64_t i = 0; i < from.rows; ++i) {
    std::copy_n(from.row(i), from.cols, to + i * padded);
    std::fill(to + i * padded + from.cols, to + (i + 1) * padded, 0.0f);
  }
}

// to[D,kBlock] = fromᵀ, with columns of zeros up to a multiple of a vector.
void Transpose(MatrixView<const float> from, float* to) {
  for (int64_t d = 0; d < from.cols; ++d) {
    float* row = to + d * kBlock;
    for (int64_t i = 0; i < from.rows; ++i) row[i] = from.row(i)[d];
    std::fill(row + from.rows, row + Padded(from.rows), 0.0f);
  }
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

// products[j,i] = keys[j] · queries[i], where queries_transposed is [D,kBlock].
void MultiplyPair(const BlockPair& pair, int64_t D, const float* keys,
                  const float* queries_transposed, float* products) {
  std::fill_n(products, pair.keys * kBlock, 0.0f);
  MultiplyAdd({.M = pair.keys,
               .N = pair.PaddedQueries(),
               .K = D,
               .a = keys,
               .a_row = Padded(D),
               .a_column = 1,
               .b = queries_transposed,
               .b_stride = kBlock,
               .c = products,
               .c_stride = kBlock,
               .triangle = pair.diagonal ? Triangle::kUpperResult : Triangle::kNone});
}

// sums[i] += Σ_j weights[j,i] keys[j].
void AddToQueries(const BlockPair& pair, int64_t padded, const float* weights, const float* keys,
                  float* sums) {
  MultiplyAdd({.M = pair.queries,
               .N = padded,
               .K = pair.keys,
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
  MultiplyAdd({.M = pair.keys,
               .N = padded,
               .K = pair.queries,
               .a = weights,
               .a_row = kBlock,
               .a_column = 1,
               .b = queries,
               .b_stride = padded,
               .c = sums,
               .c_stride = padded,
               .triangle = pair.diagonal ? Triangle::kUpperFactor : Triangle::kNone});
}

// Calls work(j, i) for each key j and vector of queries i, of which at least one attends to j.
template <typename Work>
HWY_INLINE void ForEachVectorOfPair(const BlockPair& pair, const Work& work) {
  for (int64_t j = 0; j < pair.keys; ++j) {
    const int64_t begin = pair.diagonal ? j / kLanes * kLanes : 0;
    for (int64_t i = begin; i < pair.PaddedQueries(); i += kLanes) work(j, i);
  }
}

// Computes the pair's factors of dropout, for whole groups of four keys.
void ComputeFactors(const SequenceHead& head, const BlockPair& pair, float* factors) {
  const Words d;
  const DropoutFactors mask(head.operands.dropout);
  const WordVec heads = hn::Set(d, static_cast<uint32_t>(head.operands.heads));
  for (int64_t j = 0; j < pair.keys; j += 4) {
    const WordVec group = hn::Set(d, static_cast<uint32_t>((pair.key + j) / 4));
    for (int64_t i = pair.diagonal ? j / kLanes * kLanes : 0; i < pair.PaddedQueries();
         i += kLanes) {
      const WordVec first = hn::Set(d, static_cast<uint32_t>(head.Place(pair.query + i)));
      FloatVec group_factors[4];
      mask.Compute(hn::Add(first, hn::Mul(hn::Iota(d, 0), heads)), group, group_factors);
      for (int64_t w = 0; w < 4; ++w) {
        hn::Store(group_factors[w], Floats(), factors + (j + w) * kBlock + i);
      }
    }
  }
}

// --- Forward -------------------------------------------------------------------------------------

// Turns products into weights relative to the largest score so far, for the kLanes queries from i
// on, and updates `largest` and `sums`. What was accumulated before must be multiplied by
// `rescale`.
void WeighQueries(const BlockPair& pair, int64_t i, float scale, const ForwardScratch& s) {
  const Floats d;
  const int64_t seen = pair.diagonal ? std::min(pair.keys, i + kLanes) : pair.keys;
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
  const SequenceAttentionOperands& o = head.operands;
  const int64_t D = head.Width(), padded = Padded(D);
  CopyRows(head.Of(o.k).Rows(pair.key, pair.keys), s.k);
  CopyRows(head.Of(o.v).Rows(pair.key, pair.keys), s.v);
  MultiplyPair(pair, D, s.k, s.q_transposed, s.scores);
  for (int64_t i = 0; i < pair.PaddedQueries(); i += kLanes) WeighQueries(pair, i, o.scale, s);
  for (int64_t i = 0; i < pair.queries; ++i) {
    float* y = s.y + i * padded;
    if (s.rescale[i] != 1) CopyScaled(y, padded, s.rescale[i], y);
  }
  if (head.Drops()) {
    ComputeFactors(head, pair, s.factors);
    ForEachVectorOfPair(pair, [&](int64_t j, int64_t i) HWY_ATTR {
      float* weight = s.scores + j * kBlock + i;
      const FloatVec factor = hn::Load(Floats(), s.factors + j * kBlock + i);
      hn::Store(hn::Mul(hn::Load(Floats(), weight), factor), Floats(), weight);
    });
  }
  AddToQueries(pair, padded, s.scores, s.v, s.y);
}

// Attends with the queries [query, query + queries).
void AttendWithQueries(const SequenceHead& head, int64_t query, int64_t queries,
                       MatrixView<float> y, float* lse, const ForwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D);
  Transpose(head.Of(head.operands.q).Rows(query, queries), s.q_transposed);
  std::fill_n(s.y, queries * padded, 0.0f);
  std::fill_n(s.largest, kBlock, kNever);
  std::fill_n(s.sums, kBlock, 0.0f);
  ForEachPair(head, query, queries, [&](const BlockPair& pair) { AttendToKeys(head, pair, s); });
  for (int64_t i = 0; i < queries; ++i) {
    CopyScaled(s.y + i * padded, D, 1 / s.sums[i], head.Of(y).row(query + i));
    lse[head.Place(query + i)] = s.largest[i] + std::log(s.sums[i]);
  }
}

// --- Backward ------------------------------------------------------------------------------------

// Given q[i]·k[j] in `weights` and g[i]·v[j] in `gradients`, writes m P and S (see the header) in
// their places. Without dropout m is 1.
template <typename Factor>
HWY_INLINE void DifferentiateWeights(const BlockPair& pair, float scale, const Factor& m,
                                     const BackwardScratch& s) {
  const Floats d;
  const FloatVec scales = hn::Set(d, scale);
  ForEachVectorOfPair(pair, [&](int64_t j, int64_t i) HWY_ATTR {
    float* weight = s.weights + j * kBlock + i;
    float* gradient = s.gradients + j * kBlock + i;
    const FloatVec p = Exp(d, hn::MulSub(hn::Load(d, weight), scales, hn::Load(d, s.lse + i)));
    const FloatVec centered = hn::Sub(m(j, i, hn::Load(d, gradient)), hn::Load(d, s.delta + i));
    hn::Store(m(j, i, p), d, weight);
    hn::Store(hn::Mul(hn::Mul(p, centered), scales), d, gradient);
  });
}

void DifferentiatePair(const SequenceHead& head, const BlockPair& pair, const BackwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D), keys = pair.key * padded;
  const float scale = head.operands.scale;
  MultiplyPair(pair, D, s.k + keys, s.q_transposed, s.weights);
  MultiplyPair(pair, D, s.v + keys, s.g_transposed, s.gradients);
  if (head.Drops()) {
    ComputeFactors(head, pair, s.factors);
    const auto factor = [&](int64_t j, int64_t i, FloatVec v) HWY_ATTR {
      return hn::Mul(v, hn::Load(Floats(), s.factors + j * kBlock + i));
    };
    DifferentiateWeights(pair, scale, factor, s);
  } else {
    DifferentiateWeights(
        pair, scale, [](int64_t, int64_t, FloatVec v) { return v; }, s);
  }
  AddToKeys(pair, padded, s.weights, s.g, s.gv + keys);
  AddToKeys(pair, padded, s.gradients, s.q, s.gk + keys);
  AddToQueries(pair, padded, s.gradients, s.k + keys, s.gq);
}

// Adds what the queries [query, query + queries) contribute to gk and gv, and writes their gq.
void DifferentiateQueries(const SequenceHead& head, int64_t query, int64_t queries,
                          MatrixView<const float> y, const float* lse, MatrixView<const float> g,
                          MatrixView<float> gq, const BackwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D);
  const MatrixView<const float> q_rows = head.Of(head.operands.q).Rows(query, queries);
  const MatrixView<const float> g_rows = head.Of(g).Rows(query, queries);
  CopyRows(q_rows, s.q);
  CopyRows(g_rows, s.g);
  Transpose(q_rows, s.q_transposed);
  Transpose(g_rows, s.g_transposed);
  std::fill_n(s.gq, queries * padded, 0.0f);
  std::fill_n(s.lse, kBlock, 0.0f);
  std::fill_n(s.delta, kBlock, 0.0f);
  for (int64_t i = 0; i < queries; ++i) {
    s.lse[i] = lse[head.Place(query + i)];
    s.delta[i] = Dot(g_rows.row(i), head.Of(y).row(query + i), D);
  }
  ForEachPair(head, query, queries,
              [&](const BlockPair& pair) { DifferentiatePair(head, pair, s); });
  for (int64_t i = 0; i < queries; ++i) {
    std::copy_n(s.gq + i * padded, D, head.Of(gq).row(query + i));
  }
}

void DifferentiateHead(const SequenceHead& head, MatrixView<const float> y, const float* lse,
                       MatrixView<const float> g, const SequenceAttentionGradients& gradients,
                       const BackwardScratch& s) {
  const int64_t D = head.Width(), padded = Padded(D), length = head.sequence.length;
  CopyRows(head.Of(head.operands.k), s.k);
  CopyRows(head.Of(head.operands.v), s.v);
  std::fill_n(s.gk, length * padded, 0.0f);
  std::fill_n(s.gv, length * padded, 0.0f);
  ForEachBlock(length, [&](int64_t query, int64_t queries) {
    DifferentiateQueries(head, query, queries, y, lse, g, gradients.q, s);
  });
  for (int64_t j = 0; j < length; ++j) {
    std::copy_n(s.gk + j * padded, D, head.Of(gradients.k).row(j));
    std::copy_n(s.gv + j * padded, D, head.Of(gradients.v).row(j));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace whipsnake::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace whipsnake::kernels {
namespace {

HWY_EXPORT(AttendWithQueries);
HWY_EXPORT(DifferentiateHead);

// The queries [query, query + queries) of a head.
struct QueryBlock {
  SequenceHead head;
  int64_t query, queries;
};

std::vector<SequenceHead> HeadsOf(std::span<const RowRange> sequences,
                                  const SequenceAttentionOperands& operands) {
  std::vector<SequenceHead> heads;
  for (const RowRange& sequence : sequences) {
    for (int64_t head = 0; head < operands.heads; ++head) {
      heads.push_back({operands, sequence, head});
    }
  }
  return heads;
}

// The last rows of a head come first: in a causal sequence they take the longest, and starting them
// early lets the threads finish together.
std::vector<QueryBlock> QueryBlocksOf(std::span<const SequenceHead> heads) {
  std::vector<QueryBlock> blocks;
  for (const SequenceHead& head : heads) {
    ForEachBlock(head.sequence.length, [&](int64_t query, int64_t queries) {
      blocks.push_back({head, query, queries});
    });
  }
  return {blocks.rbegin(), blocks.rend()};
}

// The context in which products of `count` matrices of scores with matrices of width D run.
Context ContextFor(const Context& context, std::span<const RowRange> sequences,
                   const SequenceAttentionOperands& operands) {
  constexpr double kNanosecondsEach = 0.05;  // per element of a key or value, and per row
  double scores = 0;
  for (const RowRange& sequence : sequences) {
    scores += static_cast<double>(sequence.length) * static_cast<double>(sequence.length);
  }
  const double nanoseconds = kNanosecondsEach * scores * static_cast<double>(operands.q.cols);
  return nanoseconds < kWorthATeam ? Alone(context) : context;
}

// Calls work(memory, item) for every item, where memory has room for size(item) floats.
template <typename Item, typename Size, typename Work>
void ForEachItem(const Context& context, const std::vector<Item>& items, const Size& size,
                 const Work& work) {
  std::atomic<size_t> next{0};
  ForEachShare(context, [&](const Context& own, int64_t) {
    OperationScratch scratch(own);
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < items.size();) {
      work(scratch.Get<float>(size(items[i])), items[i]);
    }
  });
}

}  // namespace

void SequenceAttention(const Context& context, std::span<const RowRange> sequences,
                       const SequenceAttentionOperands& operands, MatrixView<float> y, float* lse) {
  const auto attend = HWY_DYNAMIC_DISPATCH(AttendWithQueries);
  const int64_t padded = Padded(operands.q.cols / operands.heads);
  ForEachItem(
      ContextFor(context, sequences, operands), QueryBlocksOf(HeadsOf(sequences, operands)),
      [&](const QueryBlock&) { return ForwardScratch::Size(padded); },
      [&](float* memory, const QueryBlock& block) {
        attend(block.head, block.query, block.queries, y, lse, ForwardScratch(padded, memory));
      });
}

void SequenceAttentionBackward(const Context& context, std::span<const RowRange> sequences,
                               const SequenceAttentionOperands& operands, MatrixView<const float> y,
                               const float* lse, MatrixView<const float> g,
                               const SequenceAttentionGradients& gradients) {
  const auto differentiate = HWY_DYNAMIC_DISPATCH(DifferentiateHead);
  const int64_t padded = Padded(operands.q.cols / operands.heads);
  ForEachItem(
      ContextFor(context, sequences, operands), HeadsOf(sequences, operands),
      [&](const SequenceHead& head) { return BackwardScratch::Size(head.sequence.length, padded); },
      [&](float* memory, const SequenceHead& head) {
        differentiate(head, y, lse, g, gradients,
                      BackwardScratch(head.sequence.length, padded, memory));
      });
}

}  // namespace whipsnake::kernels
#endif  // HWY_ONCE
