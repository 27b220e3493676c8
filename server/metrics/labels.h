// Labels and buckets that several families share.
#ifndef WHIPSNAKE_SERVER_METRICS_LABELS_H_
#define WHIPSNAKE_SERVER_METRICS_LABELS_H_

#include <vector>

#include "server/metrics/description.h"

namespace whipsnake::server {

inline LabelDescription ModelLabel() {
  return {.name = "model", .meaning = "a loaded model, such as `demo`, or a version, `demo:3`"};
}

inline LabelDescription DeviceLabel() { return {.name = "device", .values = {"cpu"}}; }

// Returns `count` bounds, each twice the previous one.
inline std::vector<double> DoublingBounds(double first, int count) {
  std::vector<double> bounds;
  for (int i = 0; i < count; ++i, first *= 2) bounds.push_back(first);
  return bounds;
}

// 10 ms to 82 s.
inline std::vector<double> DurationBounds() { return DoublingBounds(0.01, 14); }

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_METRICS_LABELS_H_
