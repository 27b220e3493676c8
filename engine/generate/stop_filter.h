// Finds stop texts in a stream of text, also where they cross the borders of its pieces.
#ifndef WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_
#define WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_

#include <string>
#include <string_view>
#include <vector>

namespace whipsnake::engine {

// Not thread-safe.
class StopFilter {
 public:
  // None of the texts is empty.
  explicit StopFilter(std::vector<std::string> stop_texts) : stop_texts_(std::move(stop_texts)) {}

  // Takes the next piece and returns the text that is now certain: all that cannot be the beginning
  // of a stop text. Once a stop text is complete, what came before it is returned and stopped() is
  // true.
  std::string Push(std::string_view piece);
  // The end of the stream: what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  // The length of the longest end of pending_ that is a proper beginning of a stop text.
  size_t Undecided() const;

  const std::vector<std::string> stop_texts_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_STOP_FILTER_H_
