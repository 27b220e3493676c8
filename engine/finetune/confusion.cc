#include "engine/finetune/confusion.h"

namespace whipsnake::engine {
namespace {

double Ratio(double part, int64_t whole) {
  return whole == 0 ? 0 : part / static_cast<double>(whole);
}

}  // namespace

double LabelCounts::Precision() const { return Ratio(static_cast<double>(correct), predicted); }
double LabelCounts::Recall() const { return Ratio(static_cast<double>(correct), rows); }
// 2 P R / (P + R) = 2 correct / (predicted + rows)
double LabelCounts::F1() const {
  return Ratio(2.0 * static_cast<double>(correct), predicted + rows);
}

void Confusion::Add(int32_t label, int32_t prediction) {
  ++rows_;
  ++labels_[label].rows;
  ++labels_[prediction].predicted;
  ++entries_[{label, prediction}];
  if (label != prediction) return;
  ++correct_;
  ++labels_[label].correct;
}

double Confusion::Accuracy() const { return Ratio(static_cast<double>(correct_), rows_); }

double Confusion::MacroF1() const {
  double sum = 0;
  int64_t seen = 0;
  for (const LabelCounts& label : labels_) {
    sum += label.F1();
    seen += label.rows + label.predicted > 0 ? 1 : 0;
  }
  return Ratio(sum, seen);
}

}  // namespace whipsnake::engine
