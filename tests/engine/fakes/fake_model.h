// Fakes for tests of code built on models: no weights, no executor, no files.
#ifndef WHIPSNAKE_TESTS_ENGINE_FAKES_FAKE_MODEL_H_
#define WHIPSNAKE_TESTS_ENGINE_FAKES_FAKE_MODEL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/status.h"
#include "engine/models/model.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// A state that records the tokens it was given.
class FakeState : public State {
 public:
  // `live` counts the existing states; CloneAt() fails once there are `max_states` of them.
  // MakeRoom() books a byte per position in `ledger`.
  explicit FakeState(std::shared_ptr<std::atomic<int>> live,
                     const std::atomic<int>* max_states = nullptr, Ledger* ledger = nullptr)
      : live_(std::move(live)), max_states_(max_states), ledger_(ledger) {
    ++*live_;
  }
  FakeState(const FakeState& other)
      : history(other.history),
        live_(other.live_),
        max_states_(other.max_states_),
        ledger_(other.ledger_) {
    ++*live_;
  }
  ~FakeState() override { --*live_; }
  FakeState& operator=(const FakeState&) = delete;

  int64_t position() const override { return static_cast<int64_t>(history.size()); }
  void Advance(int64_t) override {}  // the model appends to `history`
  int64_t bytes() const override { return std::ssize(history) * sizeof(int32_t); }
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const override {
    EXPECT_EQ(position, this->position());
    if (max_states_ != nullptr && *live_ >= *max_states_)
      return absl::ResourceExhaustedError("no more states");
    return std::unique_ptr<State>(new FakeState(*this));
  }
  absl::Status MakeRoom(int64_t positions) override {
    if (ledger_ == nullptr) return absl::OkStatus();
    ReleaseRoom();
    ASSIGN_OR_RETURN(room_, ledger_->Reserve(positions, Purpose::kStates, "room"));
    return absl::OkStatus();
  }
  void ReleaseRoom() override { room_ = Reservation(); }
  void AppendMemory(std::vector<MemoryPiece>& pieces) const override {
    pieces.push_back({history.data(), bytes()});
  }
  absl::Status Save(std::span<std::byte> out) const override {
    std::ranges::copy(std::as_bytes(std::span(history)), out.begin());
    return absl::OkStatus();
  }

  std::vector<int32_t> history;

 private:
  const std::shared_ptr<std::atomic<int>> live_;
  const std::atomic<int>* const max_states_;
  Ledger* const ledger_;
  Reservation room_;
};

// Logits are a function of all tokens so far. By default the successor of the last token is by far
// the best. `before_forward` is called before each pass; a test can wait on a latch or count there.
class FakeModel : public Model {
 public:
  using LogitsFunction = std::function<std::vector<float>(std::span<const int32_t> history)>;

  explicit FakeModel(int64_t vocab_size) {
    info_.architecture = "fake";
    info_.vocab_size = vocab_size;
    logits = [vocab_size](std::span<const int32_t> history) {
      std::vector<float> row(vocab_size, 0.0f);
      row[(history.back() + 1) % vocab_size] = 10.0f;
      return row;
    };
  }

  const ModelInfo& info() const override { return info_; }
  ModelInfo& mutable_info() { return info_; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    if (*live_states_ >= max_states) return absl::ResourceExhaustedError("no more states");
    return std::make_unique<FakeState>(live_states_, &max_states, room_ledger);
  }
  absl::Status CheckWeights() const override {
    if (!weights_changed) return absl::OkStatus();
    return WithPath(absl::DataLossError("changed"), "/srv/model.safetensors");
  }

  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                      std::span<const std::byte> saved) override {
    auto state = std::make_unique<FakeState>(live_states_);
    state->history.resize(position);
    if (saved.size() != position * sizeof(int32_t)) {
      return absl::InvalidArgumentError("a state of another size");
    }
    std::ranges::copy(saved, std::as_writable_bytes(std::span(state->history)).begin());
    return state;
  }
  int live_states() const { return *live_states_; }

  absl::StatusOr<kernels::MatrixView<const float>> Forward(std::span<const Run> runs) override {
    if (before_forward) before_forward(runs);
    if (!error.ok()) return error;
    rows_.clear();
    for (const Run& run : runs) {
      auto& history = static_cast<FakeState*>(run.state)->history;
      for (size_t i = 0; i < run.tokens.size(); ++i) {
        history.push_back(run.tokens[i]);
        const bool last = i + 1 == run.tokens.size();
        if (run.logits == LogitsOf::kNone || (run.logits == LogitsOf::kLast && !last)) continue;
        const std::vector<float> row = logits(history);
        rows_.insert(rows_.end(), row.begin(), row.end());
      }
    }
    const int64_t columns = info_.vocab_size;
    return kernels::MatrixView<const float>(rows_.data(),
                                            static_cast<int64_t>(rows_.size()) / columns, columns);
  }

  LogitsFunction logits;
  std::function<void(std::span<const Run>)> before_forward;
  absl::Status error;                        // returned by Forward if not OK
  std::atomic<bool> weights_changed{false};  // makes CheckWeights() fail
  std::atomic<int> max_states{1000000};
  Ledger* room_ledger = nullptr;  // where the states book their room

 private:
  const std::shared_ptr<std::atomic<int>> live_states_ = std::make_shared<std::atomic<int>>(0);
  ModelInfo info_;
  std::vector<float> rows_;
};

// Token i is pieces[i]. Encoding takes the longest piece that matches. `prefix` and `suffix` are
// the ids that are put around a text.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces, std::vector<int32_t> prefix = {},
                         std::vector<int32_t> suffix = {})
      : pieces_(std::move(pieces)), prefix_(std::move(prefix)), suffix_(std::move(suffix)) {}

  int32_t size() const override { return static_cast<int32_t>(pieces_.size()); }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special_tokens) ids = prefix_;
    while (!text.empty()) {
      int32_t best = -1;
      for (int32_t id = 0; id < size(); ++id) {
        if (pieces_[id].empty() || !text.starts_with(pieces_[id])) continue;
        if (best < 0 || pieces_[id].size() > pieces_[best].size()) best = id;
      }
      if (best < 0) return absl::InvalidArgumentError("no token fits");
      ids.push_back(best);
      text.remove_prefix(pieces_[best].size());
    }
    if (options.add_special_tokens) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
    return ids;
  }

  std::span<const int32_t> prefix() const override { return prefix_; }
  std::span<const int32_t> suffix() const override { return suffix_; }

  std::string TokenBytes(int32_t id, bool) const override {
    return id >= 0 && id < size() ? pieces_[id] : "";
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) text += TokenBytes(id, skip_special);
    return text;
  }

  bool IsSpecial(int32_t) const override { return false; }

  int32_t FindToken(std::string_view content) const override {
    for (int32_t id = 0; id < size(); ++id) {
      if (pieces_[id] == content) return id;
    }
    return -1;
  }

 private:
  std::vector<std::string> pieces_;
  std::vector<int32_t> prefix_, suffix_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_FAKES_FAKE_MODEL_H_
