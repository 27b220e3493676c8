// How often a classifier takes each label for each other one.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_CONFUSION_H_
#define WHIPSNAKE_ENGINE_FINETUNE_CONFUSION_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace whipsnake::engine {

// The counts of one label. A ratio of nothing is 0.
struct LabelCounts {
  int64_t rows = 0;       // that have the label
  int64_t predicted = 0;  // that the classifier gives the label
  int64_t correct = 0;    // both

  double Precision() const;  // correct / predicted
  double Recall() const;     // correct / rows
  double F1() const;         // the harmonic mean of the two
};

// The confusion matrix of a classifier, of which only the entries that are not 0 are in memory.
class Confusion {
 public:
  explicit Confusion(int64_t labels) : labels_(labels) {}

  // Both are in [0, labels).
  void Add(int32_t label, int32_t prediction);

  int64_t rows() const { return rows_; }
  const std::vector<LabelCounts>& labels() const { return labels_; }
  // The number of rows by label and prediction.
  const std::map<std::pair<int32_t, int32_t>, int64_t>& entries() const { return entries_; }

  double Accuracy() const;
  // The mean F1 of the labels that some row has or is given.
  double MacroF1() const;

 private:
  int64_t rows_ = 0;
  int64_t correct_ = 0;
  std::vector<LabelCounts> labels_;
  std::map<std::pair<int32_t, int32_t>, int64_t> entries_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_CONFUSION_H_
