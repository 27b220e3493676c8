// Reads the pickles of tensor files as data. Nothing in a pickle is executed: a call of a function
// becomes a value that says which function and which arguments, and only functions of a given list
// may be named at all.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_PICKLE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_PICKLE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// A function or class that a pickle may name.
struct PickleGlobal {
  std::string_view name;    // "collections.OrderedDict"
  bool makes_dict = false;  // a call of it without arguments is an empty dict
};

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBoolean,
    kInteger,
    kReal,
    kText,
    kTuple,
    kList,
    kDict,
    kGlobal,
    kCall,
    kPersistent  // refers to something outside of the pickle
  };

  Kind kind = Kind::kNone;
  int64_t integer = 0;         // of kInteger and kBoolean
  std::string_view text = {};  // of kText, in the pickle; of kGlobal its name, in the list
  // Indices of values. Of kTuple and kList: the elements; of kDict: key, value, key, value, ...; of
  // kCall: the function and the tuple of its arguments; of kPersistent: its id.
  std::vector<int32_t> parts = {};
};

// "a tuple", for messages.
std::string_view Name(PickleValue::Kind kind);

// Values may be parts of several others and, in a malicious pickle, of themselves: do not follow
// parts without a bound.
struct Pickle {
  std::vector<PickleValue> values;
  int32_t root = 0;

  const PickleValue& at(int32_t index) const { return values[index]; }
};

// Reads a pickle of protocol 2 to 5, which must outlive the result. Attributes that are set on an
// object are dropped. Returns INVALID_ARGUMENT, with the position, for a global that is not in the
// list, an opcode that tensor files do not need, a pickle that is malformed, one of more than 16
// MiB, or one of more than a million values.
absl::StatusOr<Pickle> ReadPickle(std::span<const std::byte> bytes,
                                  std::span<const PickleGlobal> globals);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_PICKLE_H_
