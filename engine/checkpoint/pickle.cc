#include "engine/checkpoint/pickle.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr size_t kMaxValues = 1'000'000;
constexpr int kLowestProtocol = 2, kHighestProtocol = 5;

// As in Python's pickletools.
enum class Opcode : uint8_t {
  kProtocol = 0x80,
  kFrame = 0x95,
  kStop = '.',
  kMark = '(',
  kPop = '0',
  kPopMark = '1',
  kNone = 'N',
  kTrue = 0x88,
  kFalse = 0x89,
  kInt4 = 'J',
  kInt1 = 'K',
  kInt2 = 'M',
  kLong1 = 0x8a,
  kFloat = 'G',
  kText4 = 'X',
  kText1 = 0x8c,
  kText8 = 0x8d,
  kBytes4 = 'T',
  kBytes1 = 'U',
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kPut1 = 'q',
  kPut4 = 'r',
  kMemoize = 0x94,
  kGet1 = 'h',
  kGet4 = 'j',
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kPersistentId = 'Q',
  kReduce = 'R',
  kBuild = 'b'
};

// The machine that a pickle is a program for: a stack, a memo, and marks on the stack.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals)
      : bytes_(bytes), globals_(globals) {}

  absl::StatusOr<Pickle> Run() {
    while (true) {
      at_ = next_;
      ASSIGN_OR_RETURN(const auto code, Number<uint8_t>());
      if (at_ == 0 && code != static_cast<uint8_t>(Opcode::kProtocol)) {
        return Refuse("no protocol seen at its begin, expected a pickle");
      }
      if (code == static_cast<uint8_t>(Opcode::kStop)) break;
      RETURN_IF_ERROR(Step(static_cast<Opcode>(code)));
    }
    ASSIGN_OR_RETURN(pickle_.root, Pop());
    return std::move(pickle_);
  }

 private:
  absl::Status Refuse(std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("pickle, byte ", at_, ": ", ToAbsl(what)));
  }

  // Takes the next bytes of the program.
  absl::StatusOr<std::span<const std::byte>> Take(uint64_t size) {
    if (size > bytes_.size() - next_) return Refuse("it ends in the middle of this opcode");
    const auto taken = bytes_.subspan(next_, size);
    next_ += size;
    return taken;
  }
  template <typename T>
  absl::StatusOr<T> Number() {
    ASSIGN_OR_RETURN(const auto bytes, Take(sizeof(T)));
    T number;
    std::memcpy(&number, bytes.data(), sizeof(T));
    return number;
  }
  // Takes the bytes up to the end of the line.
  absl::StatusOr<std::string_view> Line() {
    const auto rest = bytes_.subspan(next_);
    const auto end = std::ranges::find(rest, std::byte{'\n'});
    if (end == rest.end()) return Refuse("it ends in the middle of this opcode");
    const std::string_view line(reinterpret_cast<const char*>(rest.data()), end - rest.begin());
    next_ += line.size() + 1;
    return line;
  }

  absl::Status PushIndex(int32_t index) {
    stack_.push_back(index);
    return absl::OkStatus();
  }
  absl::Status Push(PickleValue value) {
    if (pickle_.values.size() == kMaxValues) {
      return Refuse(absl::StrCat("more than ", kMaxValues, " values"));
    }
    pickle_.values.push_back(std::move(value));
    return PushIndex(static_cast<int32_t>(pickle_.values.size()) - 1);
  }
  absl::Status PushInteger(int64_t value, Kind kind = Kind::kInteger) {
    return Push({.kind = kind, .integer = value});
  }

  // Values below the last mark cannot be taken.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  absl::StatusOr<int32_t> Pop() {
    if (stack_.size() <= floor()) return Refuse("a value of an empty stack seen");
    const int32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  absl::StatusOr<std::vector<int32_t>> PopMany(size_t count) {
    if (stack_.size() - floor() < count) return Refuse("a value of an empty stack seen");
    std::vector<int32_t> values(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }
  absl::StatusOr<std::vector<int32_t>> PopToMark() {
    if (marks_.empty()) return Refuse("no mark on the stack");
    ASSIGN_OR_RETURN(std::vector<int32_t> values, PopMany(stack_.size() - marks_.back()));
    marks_.pop_back();
    return values;
  }
  // The value on top of the stack, which must be of this kind.
  absl::StatusOr<PickleValue*> Top(Kind kind) {
    if (stack_.size() <= floor()) return Refuse("a value of an empty stack seen");
    PickleValue& top = pickle_.values[stack_.back()];
    if (top.kind == kind) return &top;
    return Refuse(absl::StrCat(ToAbsl(Name(top.kind)), " seen, expected ", ToAbsl(Name(kind))));
  }

  absl::Status Step(Opcode opcode);
  absl::Status CheckProtocol();
  absl::Status PushLong();
  absl::Status PushText(uint64_t size);
  absl::Status PushTuple(size_t count);
  absl::Status Extend(Kind kind, absl::StatusOr<std::vector<int32_t>> parts);
  absl::Status Put(uint64_t index);
  absl::Status Get(uint64_t index);
  absl::Status PushGlobal(std::string_view module, std::string_view name);
  absl::Status PushStackGlobal();
  absl::Status PushPersistent();
  absl::Status Reduce();
  absl::Status Build();

  const std::span<const std::byte> bytes_;
  const std::span<const PickleGlobal> globals_;
  size_t at_ = 0;    // where the opcode begins, for messages
  size_t next_ = 0;  // where the next byte is taken
  Pickle pickle_;
  std::vector<int32_t> stack_, memo_;  // of indices of values
  std::vector<size_t> marks_;          // sizes of the stack
};

// Evaluates `expression` and calls `action` with its value.
#define WITH(expression, action)                    \
  {                                                 \
    auto argument_ = (expression);                  \
    if (!argument_.ok()) return argument_.status(); \
    return action(*argument_);                      \
  }

absl::Status PickleMachine::Step(Opcode opcode) {
  switch (opcode) {
    case Opcode::kProtocol:
      return CheckProtocol();
    case Opcode::kFrame:
      return Take(sizeof(uint64_t)).status();
    case Opcode::kMark:
      marks_.push_back(stack_.size());
      return absl::OkStatus();
    case Opcode::kPop:
      return Pop().status();
    case Opcode::kPopMark:
      return PopToMark().status();
    case Opcode::kNone:
      return Push({});
    case Opcode::kTrue:
      return PushInteger(1, Kind::kBoolean);
    case Opcode::kFalse:
      return PushInteger(0, Kind::kBoolean);
    case Opcode::kInt1:
      WITH(Number<uint8_t>(), PushInteger)
    case Opcode::kInt2:
      WITH(Number<uint16_t>(), PushInteger)
    case Opcode::kInt4:
      WITH(Number<int32_t>(), PushInteger)
    case Opcode::kLong1:
      return PushLong();
    case Opcode::kFloat:
      RETURN_IF_ERROR(Take(sizeof(double)).status());
      return Push({.kind = Kind::kReal});
    case Opcode::kText1:
    case Opcode::kBytes1:
      WITH(Number<uint8_t>(), PushText)
    case Opcode::kText4:
    case Opcode::kBytes4:
      WITH(Number<uint32_t>(), PushText)
    case Opcode::kText8:
      WITH(Number<uint64_t>(), PushText)
    case Opcode::kEmptyTuple:
      return PushTuple(0);
    case Opcode::kTuple1:
      return PushTuple(1);
    case Opcode::kTuple2:
      return PushTuple(2);
    case Opcode::kTuple3:
      return PushTuple(3);
    case Opcode::kTuple: {
      ASSIGN_OR_RETURN(std::vector<int32_t> parts, PopToMark());
      return Push({.kind = Kind::kTuple, .parts = std::move(parts)});
    }
    case Opcode::kEmptyList:
      return Push({.kind = Kind::kList});
    case Opcode::kAppend:
      return Extend(Kind::kList, PopMany(1));
    case Opcode::kAppends:
      return Extend(Kind::kList, PopToMark());
    case Opcode::kEmptyDict:
      return Push({.kind = Kind::kDict});
    case Opcode::kSetItem:
      return Extend(Kind::kDict, PopMany(2));
    case Opcode::kSetItems:
      return Extend(Kind::kDict, PopToMark());
    case Opcode::kPut1:
      WITH(Number<uint8_t>(), Put)
    case Opcode::kPut4:
      WITH(Number<uint32_t>(), Put)
    case Opcode::kMemoize:
      return Put(memo_.size());
    case Opcode::kGet1:
      WITH(Number<uint8_t>(), Get)
    case Opcode::kGet4:
      WITH(Number<uint32_t>(), Get)
    case Opcode::kGlobal: {
      ASSIGN_OR_RETURN(const std::string_view module, Line());
      ASSIGN_OR_RETURN(const std::string_view name, Line());
      return PushGlobal(module, name);
    }
    case Opcode::kStackGlobal:
      return PushStackGlobal();
    case Opcode::kPersistentId:
      return PushPersistent();
    case Opcode::kReduce:
      return Reduce();
    case Opcode::kBuild:
      return Build();
    case Opcode::kStop:
      break;
  }
  return Refuse(absl::StrFormat("opcode 0x%02x seen, expected those of a file of tensors",
                                static_cast<unsigned>(opcode)));
}

#undef WITH

absl::Status PickleMachine::CheckProtocol() {
  ASSIGN_OR_RETURN(const auto protocol, Number<uint8_t>());
  if (kLowestProtocol <= protocol && protocol <= kHighestProtocol) return absl::OkStatus();
  return Refuse(absl::StrCat("protocol ", protocol, " seen, expected ", kLowestProtocol, " to ",
                             kHighestProtocol));
}

// A signed number of any length, little-endian.
absl::Status PickleMachine::PushLong() {
  ASSIGN_OR_RETURN(const auto size, Number<uint8_t>());
  ASSIGN_OR_RETURN(const auto bytes, Take(size));
  if (size > sizeof(int64_t)) return Refuse("an integer of more than 64 bits");
  const bool negative = size > 0 && (bytes[size - 1] & std::byte{0x80}) != std::byte{0};
  int64_t number = negative ? -1 : 0;
  std::memcpy(&number, bytes.data(), size);
  return PushInteger(number);
}

absl::Status PickleMachine::PushText(uint64_t size) {
  ASSIGN_OR_RETURN(const auto bytes, Take(size));
  return Push(
      {.kind = Kind::kText, .text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
}

absl::Status PickleMachine::PushTuple(size_t count) {
  ASSIGN_OR_RETURN(std::vector<int32_t> parts, PopMany(count));
  return Push({.kind = Kind::kTuple, .parts = std::move(parts)});
}

// Adds parts to the list or dict below them on the stack.
absl::Status PickleMachine::Extend(Kind kind, absl::StatusOr<std::vector<int32_t>> parts) {
  RETURN_IF_ERROR(parts.status());
  if (kind == Kind::kDict && parts->size() % 2 != 0) return Refuse("a key without a value");
  ASSIGN_OR_RETURN(PickleValue* const container, Top(kind));
  container->parts.insert(container->parts.end(), parts->begin(), parts->end());
  return absl::OkStatus();
}

absl::Status PickleMachine::Put(uint64_t index) {
  if (stack_.size() <= floor()) return Refuse("a value of an empty stack seen");
  if (index >= kMaxValues) return Refuse(absl::StrCat("a memo of more than ", kMaxValues));
  if (index >= memo_.size()) memo_.resize(index + 1, -1);
  memo_[index] = stack_.back();
  return absl::OkStatus();
}

absl::Status PickleMachine::Get(uint64_t index) {
  if (index < memo_.size() && memo_[index] >= 0) return PushIndex(memo_[index]);
  return Refuse(absl::StrCat("nothing is in the memo at ", index));
}

absl::Status PickleMachine::PushGlobal(std::string_view module, std::string_view name) {
  for (const PickleGlobal& global : globals_) {
    if (global.name.size() == module.size() + 1 + name.size() && global.name.starts_with(module) &&
        global.name[module.size()] == '.' && global.name.ends_with(name)) {
      return Push({.kind = Kind::kGlobal, .text = global.name});
    }
  }
  const std::string full = absl::StrCat(ToAbsl(module), ".", ToAbsl(name));
  return Refuse(
      absl::StrCat("the Python object ", Quoted(full),
                   " seen, expected only what tensors are made of; nothing was executed"));
}

absl::Status PickleMachine::PushStackGlobal() {
  ASSIGN_OR_RETURN(const std::vector<int32_t> parts, PopMany(2));
  const PickleValue& module = pickle_.at(parts[0]);
  const PickleValue& name = pickle_.at(parts[1]);
  if (module.kind != Kind::kText || name.kind != Kind::kText) {
    return Refuse("a global whose name is no text");
  }
  return PushGlobal(module.text, name.text);
}

absl::Status PickleMachine::PushPersistent() {
  ASSIGN_OR_RETURN(std::vector<int32_t> parts, PopMany(1));
  return Push({.kind = Kind::kPersistent, .parts = std::move(parts)});
}

absl::Status PickleMachine::Reduce() {
  ASSIGN_OR_RETURN(std::vector<int32_t> parts, PopMany(2));
  const PickleValue& function = pickle_.at(parts[0]);
  const PickleValue& arguments = pickle_.at(parts[1]);
  if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple) {
    return Refuse("a call of something else than a function with a tuple");
  }
  const PickleGlobal& global = *std::ranges::find(globals_, function.text, &PickleGlobal::name);
  if (!global.makes_dict) return Push({.kind = Kind::kCall, .parts = std::move(parts)});
  if (!arguments.parts.empty()) {
    return Refuse(
        absl::StrCat("a call of ", ToAbsl(function.text), " with arguments seen, expected none"));
  }
  return Push({.kind = Kind::kDict});
}

// Drops the attributes, such as the versions of modules that a state_dict has as `_metadata`.
absl::Status PickleMachine::Build() { return PopMany(1).status(); }

}  // namespace

std::string_view Name(Kind kind) {
  constexpr std::string_view kNames[] = {"None",       "a boolean", "an integer", "a number",
                                         "a text",     "a tuple",   "a list",     "a dict",
                                         "a function", "a call",    "a reference"};
  return kNames[static_cast<size_t>(kind)];
}

absl::StatusOr<Pickle> ReadPickle(std::span<const std::byte> bytes,
                                  std::span<const PickleGlobal> globals) {
  if (bytes.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("pickle: ", bytes.size(), " bytes seen, expected at most ", kMaxBytes));
  }
  return PickleMachine(bytes, globals).Run();
}

}  // namespace whipsnake::engine
