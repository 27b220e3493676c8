#include "engine/quantize/calibration.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// A model is served with the tokens that its tokenizer puts around a text.
constexpr EncodeOptions kWithSpecialTokens{.add_special_tokens = true};

// FNV-1a over the samples' lengths and ids.
std::string Digest(const Samples& samples) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](uint64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      hash = (hash ^ ((value >> (8 * byte)) & 0xff)) * 0x100000001b3u;
    }
  };
  for (const auto& sample : samples) {
    add(sample.size());
    for (const int32_t id : sample) add(id);
  }
  return absl::StrFormat("fnv1a64:%016x", hash);
}

CalibrationSet Split(Samples samples) {
  CalibrationSet set;
  set.digest = Digest(samples);
  const size_t held_out = std::max<size_t>(samples.size() / 10, 1);
  set.held_out.assign(std::make_move_iterator(samples.end() - held_out),
                      std::make_move_iterator(samples.end()));
  samples.resize(samples.size() - held_out);
  set.samples = std::move(samples);
  return set;
}

absl::StatusOr<Samples> FromJsonLines(std::string_view text, const Tokenizer& tokenizer,
                                      const CalibrationOptions& options) {
  Samples samples;
  int64_t number = 0;
  while (!text.empty() && std::ssize(samples) < options.max_samples) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const auto refuse = [&](const absl::Status& status) {
      return WithContext(status, absl::StrCat("line ", number));
    };
    const auto document = ParseJsonObject(line);
    if (!document.ok()) return refuse(document.status());
    JsonObjectReader reader(*document);
    if (!reader.Has("text")) reader.Reject("text", "a string");
    const std::string content = reader.Text("text", "");
    if (!reader.status().ok()) return refuse(reader.status());
    auto tokens = tokenizer.Encode(content, kWithSpecialTokens);
    if (!tokens.ok()) return refuse(tokens.status());
    if (std::ssize(*tokens) > options.max_tokens) tokens->resize(options.max_tokens);
    if (!tokens->empty()) samples.push_back(*std::move(tokens));
  }
  return samples;
}

absl::StatusOr<Samples> FromPlainText(std::string_view text, const Tokenizer& tokenizer,
                                      const CalibrationOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, tokenizer.Encode(text, kWithSpecialTokens));
  const int64_t wanted = std::min<int64_t>(tokens.size(), options.max_samples * options.max_tokens);
  // A short text is cut into shorter samples rather than into too few.
  const int64_t length =
      std::clamp<int64_t>(wanted / kMinCalibrationSamples, 1, options.max_tokens);
  Samples samples;
  for (int64_t begin = 0; begin + length <= wanted; begin += length) {
    samples.emplace_back(tokens.begin() + begin, tokens.begin() + begin + length);
  }
  return samples;
}

int64_t CountTokens(const Samples& samples) {
  int64_t tokens = 0;
  for (const auto& sample : samples) tokens += std::ssize(sample);
  return tokens;
}

}  // namespace

int64_t CalibrationSet::tokens() const { return CountTokens(samples) + CountTokens(held_out); }

absl::StatusOr<CalibrationSet> MakeCalibrationSet(std::string_view text, const Tokenizer& tokenizer,
                                                  const CalibrationOptions& options) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != text.npos && text[first] == '{';
  ASSIGN_OR_RETURN(Samples samples, json ? FromJsonLines(text, tokenizer, options)
                                         : FromPlainText(text, tokenizer, options));
  if (const int64_t tokens = CountTokens(samples); tokens < kMinCalibrationTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "calibration: ", tokens, " tokens seen, expected at least ", kMinCalibrationTokens));
  }
  if (std::ssize(samples) < kMinCalibrationSamples) {
    return absl::InvalidArgumentError(absl::StrCat("calibration: ", samples.size(),
                                                   " documents seen, expected at least ",
                                                   kMinCalibrationSamples));
  }
  CalibrationSet set = Split(std::move(samples));
  set.known_tokens = tokenizer.size();
  return set;
}

CalibrationSet RandomCalibrationSet(int64_t tokens, int64_t vocab_size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Samples samples(2);
  for (int64_t i = 0; i < tokens; ++i) {
    samples[i >= tokens - tokens / 10].push_back(static_cast<int32_t>(random() % vocab_size));
  }
  return Split(std::move(samples));
}

}  // namespace whipsnake::engine
