// Finds stop texts in a stream of text, including those that span several pieces.
#ifndef WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_
#define WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_

#include <string>
#include <string_view>
#include <vector>

namespace whipsnake::engine {

// Not thread-safe.
class StopFilter {
 public:
  // None of the texts may be empty.
  explicit StopFilter(std::vector<std::string> stop_texts) : stop_texts_(std::move(stop_texts)) {}

  // Takes the next piece and returns the text that has become final: everything that cannot be the
  // beginning of a stop text. When a stop text is complete, returns the text before it, and
  // stopped() is true from then on.
  std::string Push(std::string_view piece);
  // Ends the stream and returns the text that was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  // The length of the longest suffix of pending_ that is a proper prefix of a stop text.
  size_t HeldBackLength() const;

  const std::vector<std::string> stop_texts_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_
