// Byte-pair encoding (Sennrich et al., 2016): the characters of a word are merged pair by pair, in
// the order in which training found the pairs.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_BPE_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// All ids are below this limit, so that a small file cannot require large tables.
inline constexpr int32_t kMaxTokenIds = 1 << 21;

// Immutable and thread-safe.
class Bpe {
 public:
  // Reads the field "model". Returns INVALID_ARGUMENT if it is malformed, and UNIMPLEMENTED for
  // other models, dropout, and prefixes or suffixes of subwords.
  static absl::StatusOr<Bpe> Parse(const JsonView& view);

  // The units of the words passed to Encode.
  enum class Alphabet {
    kCharacters,  // well-formed UTF-8
    kBytes,       // the bytes that byte-level characters in the vocabulary represent
  };
  // Whether the vocabulary has every character of the byte-level alphabet, which kBytes requires.
  bool has_byte_alphabet() const { return has_byte_alphabet_; }

  // Appends the ids of `word`. A word that is a token stays whole if the model ignores merges,
  // unless `as_whole` is false. Returns INVALID_ARGUMENT if a character needs the unknown token and
  // that is not in the vocabulary.
  absl::Status Encode(std::string_view word, Alphabet alphabet, std::vector<int32_t>* ids,
                      bool as_whole = true) const;

  const absl::flat_hash_map<std::string, int32_t>& vocabulary() const { return vocabulary_; }
  int32_t Find(std::string_view token) const;  // -1 if there is none

 private:
  struct Merge {
    uint32_t rank = std::numeric_limits<uint32_t>::max();  // lowest first; max if no merge
    int32_t id = -1;
    bool exists() const { return id >= 0; }
  };

  absl::Status ReadOptions(const JsonView& view);
  absl::Status ReadVocabulary(const JsonView& view);
  absl::Status ReadMerges(const JsonView& view);
  absl::Status AddMerge(const JsonView& merges, size_t index, const std::string& left,
                        const std::string& right, uint32_t rank);
  void IndexBytes();

  absl::Status Symbolize(std::string_view word, std::vector<int32_t>* symbols) const;
  bool FallBackToBytes(std::string_view character, std::vector<int32_t>* symbols) const;
  Merge FindMerge(int32_t left, int32_t right) const;
  void MergeByScan(std::vector<int32_t>* symbols, size_t first) const;
  void MergeByQueue(std::vector<int32_t>* symbols, size_t first) const;

  absl::flat_hash_map<std::string, int32_t> vocabulary_;
  absl::flat_hash_map<uint64_t, Merge> merges_;            // by left id << 32 | right id
  absl::flat_hash_map<std::string, int32_t> whole_words_;  // ids by bytes, with ignore_merges
  std::array<int32_t, 256> byte_ids_;
  bool has_byte_alphabet_ = false;

  bool has_unknown_ = false;
  std::string unknown_token_;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_BPE_H_
