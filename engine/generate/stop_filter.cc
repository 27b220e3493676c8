#include "engine/generate/stop_filter.h"

#include <algorithm>
#include <utility>

namespace whipsnake::engine {

std::string StopFilter::Push(std::string_view piece) {
  if (stopped_) return "";
  // Characters are checked one by one, so that the stop text that is complete first wins.
  std::string final_text;
  for (const char c : piece) {
    pending_ += c;
    for (const std::string& stop : stop_texts_) {
      if (!pending_.ends_with(stop)) continue;
      stopped_ = true;
      pending_.resize(pending_.size() - stop.size());
      return final_text + std::exchange(pending_, "");
    }
    const size_t final_length = pending_.size() - HeldBackLength();
    final_text.append(pending_, 0, final_length);
    pending_.erase(0, final_length);
  }
  return final_text;
}

std::string StopFilter::Finish() { return std::exchange(pending_, ""); }

size_t StopFilter::HeldBackLength() const {
  size_t longest = 0;
  for (const std::string& stop : stop_texts_) {
    for (size_t length = std::min(pending_.size(), stop.size() - 1); length > longest; --length) {
      if (pending_.ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return longest;
}

}  // namespace whipsnake::engine
