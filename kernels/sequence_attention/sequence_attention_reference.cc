#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/sequence_attention/sequence_attention.h"

namespace whipsnake::kernels::reference {
namespace {

// One head of one sequence.
struct Head {
  const SequenceAttentionOperands& operands;
  RowRange sequence;
  int64_t head;

  int64_t width() const { return operands.q.cols / operands.heads; }
  template <typename T>
  T* Row(MatrixView<T> matrix, int64_t i) const {
    return matrix.row(sequence.begin + i) + head * width();
  }
  // The number of keys to which row i attends.
  int64_t Seen(int64_t i) const { return operands.causal ? i + 1 : sequence.length; }
  double Factor(int64_t i, int64_t j) const {
    return reference::Factor(operands.dropout, (sequence.begin + i) * operands.heads + head, j);
  }
  double Dot(const float* a, const float* b) const {
    double sum = 0;
    for (int64_t d = 0; d < width(); ++d) sum += double{a[d]} * b[d];
    return sum;
  }
};

template <typename Work>
void ForEachHead(std::span<const RowRange> sequences, const SequenceAttentionOperands& operands,
                 const Work& work) {
  for (const RowRange& sequence : sequences) {
    for (int64_t head = 0; head < operands.heads; ++head) work(Head{operands, sequence, head});
  }
}

struct Probabilities {
  std::vector<double> p;  // of the keys to which the row attends
  double lse;
};

Probabilities ProbabilitiesOf(const Head& head, int64_t i) {
  const SequenceAttentionOperands& o = head.operands;
  std::vector<double> p(head.Seen(i));
  for (int64_t j = 0; j < std::ssize(p); ++j) {
    p[j] = o.scale * head.Dot(head.Row(o.q, i), head.Row(o.k, j));
  }
  const double largest = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (const double score : p) sum += std::exp(score - largest);
  const double lse = largest + std::log(sum);
  for (double& score : p) score = std::exp(score - lse);
  return {p, lse};
}

void Attend(const Head& head, MatrixView<float> y, float* lse) {
  for (int64_t i = 0; i < head.sequence.length; ++i) {
    const Probabilities row = ProbabilitiesOf(head, i);
    lse[(head.sequence.begin + i) * head.operands.heads + head.head] = static_cast<float>(row.lse);
    std::vector<double> sums(head.width());
    for (int64_t j = 0; j < std::ssize(row.p); ++j) {
      const double weight = row.p[j] * head.Factor(i, j);
      const float* v = head.Row(head.operands.v, j);
      for (int64_t d = 0; d < head.width(); ++d) sums[d] += weight * v[d];
    }
    std::copy(sums.begin(), sums.end(), head.Row(y, i));
  }
}

void Differentiate(const Head& head, MatrixView<const float> g,
                   const SequenceAttentionGradients& gradients) {
  const SequenceAttentionOperands& o = head.operands;
  const int64_t D = head.width(), length = head.sequence.length;
  std::vector<double> gk(length * D), gv(length * D);
  for (int64_t i = 0; i < length; ++i) {
    const std::vector<double> p = ProbabilitiesOf(head, i).p;
    const float* gi = head.Row(g, i);
    std::vector<double> gp(p.size());  // ∂L/∂P
    double delta = 0;
    for (int64_t j = 0; j < std::ssize(p); ++j) {
      gp[j] = head.Factor(i, j) * head.Dot(gi, head.Row(o.v, j));
      delta += p[j] * gp[j];
    }
    std::vector<double> gq(D);
    for (int64_t j = 0; j < std::ssize(p); ++j) {
      const double weight = head.Factor(i, j) * p[j], gs = p[j] * (gp[j] - delta) * o.scale;
      for (int64_t d = 0; d < D; ++d) {
        gv[j * D + d] += weight * gi[d];
        gk[j * D + d] += gs * head.Row(o.q, i)[d];
        gq[d] += gs * head.Row(o.k, j)[d];
      }
    }
    std::copy(gq.begin(), gq.end(), head.Row(gradients.q, i));
  }
  for (int64_t j = 0; j < length; ++j) {
    std::copy_n(gk.begin() + j * D, D, head.Row(gradients.k, j));
    std::copy_n(gv.begin() + j * D, D, head.Row(gradients.v, j));
  }
}

}  // namespace

void SequenceAttention(std::span<const RowRange> sequences,
                       const SequenceAttentionOperands& operands, MatrixView<float> y, float* lse) {
  ForEachHead(sequences, operands, [&](const Head& head) { Attend(head, y, lse); });
}

void SequenceAttentionBackward(std::span<const RowRange> sequences,
                               const SequenceAttentionOperands& operands, MatrixView<const float> g,
                               const SequenceAttentionGradients& gradients) {
  ForEachHead(sequences, operands, [&](const Head& head) { Differentiate(head, g, gradients); });
}

}  // namespace whipsnake::kernels::reference
