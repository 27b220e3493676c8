#include "engine/checkpoint/zip_archive.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocatorSignature = 0x07064b50;

// The fixed parts of the records.
constexpr size_t kLocalBytes = 30;
constexpr size_t kDirectoryEntryBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kLocatorBytes = 20;
constexpr size_t kExtraHeaderBytes = 4;

constexpr size_t kMaxComment = 65535;
constexpr uint64_t kMaxDirectoryBytes = uint64_t{64} << 20;
constexpr uint32_t kIn64Bits = 0xffffffff;     // the value is in the 64-bit extension
constexpr uint16_t kEncrypted = 1u | 1u << 6;  // bits of the flags

absl::Status Refuse(const std::string& what) {
  return absl::InvalidArgumentError("zip archive: " + what);
}

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The little-endian number at `at`, which must lie within `bytes`.
template <typename T>
T Number(Bytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// Whether [begin, begin + size) lies within [0, limit].
bool Fits(uint64_t begin, uint64_t size, uint64_t limit) {
  return begin <= limit && size <= limit - begin;
}

struct Directory {
  uint64_t begin = 0;
  uint64_t size = 0;
};

// Finds the end record: the last one whose comment ends with the file.
std::optional<size_t> FindEnd(Bytes file) {
  if (file.size() < kEndBytes) return std::nullopt;
  const size_t last = file.size() - kEndBytes;
  const size_t first = last - std::min(last, kMaxComment);
  for (size_t at = last + 1; at-- > first;) {
    if (Number<uint32_t>(file, at) == kEndSignature &&
        at + kEndBytes + Number<uint16_t>(file, at + 20) == file.size()) {
      return at;
    }
  }
  return std::nullopt;
}

absl::StatusOr<Directory> FindDirectory(Bytes file) {
  const std::optional<size_t> end = FindEnd(file);
  if (!end) return Refuse("no directory seen at its end, expected one; is the file complete?");
  Directory directory{.begin = Number<uint32_t>(file, *end + 16),
                      .size = Number<uint32_t>(file, *end + 12)};
  uint64_t limit = *end;
  if (*end >= kLocatorBytes && Number<uint32_t>(file, *end - kLocatorBytes) == kLocatorSignature) {
    limit = *end - kLocatorBytes;
    const auto at = Number<uint64_t>(file, limit + 8);
    if (!Fits(at, kEnd64Bytes, limit) || Number<uint32_t>(file, at) != kEnd64Signature) {
      return Refuse("its 64-bit end record is not where it should be");
    }
    directory = {.begin = Number<uint64_t>(file, at + 48), .size = Number<uint64_t>(file, at + 40)};
    limit = at;
  }
  if (!Fits(directory.begin, directory.size, limit)) {
    return Refuse(absl::StrCat("a directory of ", directory.size, " bytes at ", directory.begin,
                               " seen, expected it within the first ", limit));
  }
  if (directory.size > kMaxDirectoryBytes) {
    return Refuse(absl::StrCat("a directory of ", directory.size, " bytes seen, expected at most ",
                               kMaxDirectoryBytes));
  }
  return directory;
}

// An entry of the directory.
struct Entry {
  std::string_view name;
  uint64_t header = 0;  // where its local header begins
  uint64_t size = 0;
  uint64_t compressed = 0;
  uint16_t flags = 0;
  uint16_t method = 0;
};

// Takes the values of the entry that did not fit in 32 bits, from the extra fields. They have a
// fixed order, and only those that did not fit are there.
bool Read64(Bytes extra, Entry& entry) {
  constexpr uint16_t kId = 1;
  while (extra.size() >= kExtraHeaderBytes) {
    const auto id = Number<uint16_t>(extra, 0), size = Number<uint16_t>(extra, 2);
    extra = extra.subspan(kExtraHeaderBytes);
    if (size > extra.size()) return false;
    Bytes field = extra.first(size);
    extra = extra.subspan(size);
    if (id != kId) continue;
    for (uint64_t* const value : {&entry.size, &entry.compressed, &entry.header}) {
      if (*value != kIn64Bits) continue;
      if (field.size() < sizeof(uint64_t)) return false;
      *value = Number<uint64_t>(field, 0);
      field = field.subspan(sizeof(uint64_t));
    }
  }
  return true;
}

// Takes the next entry from the front of the directory.
absl::StatusOr<Entry> NextEntry(Bytes& directory) {
  if (directory.size() < kDirectoryEntryBytes ||
      Number<uint32_t>(directory, 0) != kDirectorySignature) {
    return Refuse("something else than an entry seen in its directory");
  }
  const size_t name = Number<uint16_t>(directory, 28), extra = Number<uint16_t>(directory, 30),
               comment = Number<uint16_t>(directory, 32);
  const size_t variable = name + extra + comment;
  if (variable > directory.size() - kDirectoryEntryBytes) {
    return Refuse("an entry that ends after the directory");
  }
  Entry entry{.name = Text(directory.subspan(kDirectoryEntryBytes, name)),
              .header = Number<uint32_t>(directory, 42),
              .size = Number<uint32_t>(directory, 24),
              .compressed = Number<uint32_t>(directory, 20),
              .flags = Number<uint16_t>(directory, 8),
              .method = Number<uint16_t>(directory, 10)};
  if (!Read64(directory.subspan(kDirectoryEntryBytes + name, extra), entry)) {
    return Refuse(absl::StrCat("entry ", Quoted(entry.name), ": malformed extra fields"));
  }
  directory = directory.subspan(kDirectoryEntryBytes + variable);
  return entry;
}

// The range of bytes that an entry takes in the file, with its local header.
struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Checks an entry against its local header. Returns its bytes, which end its range.
absl::StatusOr<Bytes> FindBytes(Bytes file, const Entry& entry, uint64_t limit) {
  const auto refuse = [&](std::string_view what) {
    return Refuse(absl::StrCat("entry ", Quoted(entry.name), ": ", ToAbsl(what)));
  };
  if ((entry.flags & kEncrypted) != 0) return refuse("it is encrypted");
  if (entry.method != 0 || entry.compressed != entry.size) {
    return refuse("it is compressed, expected stored bytes, as torch.save writes them");
  }
  if (!Fits(entry.header, kLocalBytes, limit) ||
      Number<uint32_t>(file, entry.header) != kLocalSignature) {
    return refuse("its header is not where the directory says");
  }
  const size_t name = Number<uint16_t>(file, entry.header + 26),
               extra = Number<uint16_t>(file, entry.header + 28);
  const uint64_t begin = entry.header + kLocalBytes + name + extra;
  if (!Fits(begin, entry.size, limit)) return refuse("it ends after the archive's entries");
  if (Text(file.subspan(entry.header + kLocalBytes, name)) != entry.name) {
    return refuse("its header has another name");
  }
  return file.subspan(begin, entry.size);
}

absl::Status CheckDisjoint(std::vector<Range> ranges) {
  std::ranges::sort(ranges, {}, &Range::begin);
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      return Refuse(absl::StrCat("the entries at ", ranges[i - 1].begin, " and ", ranges[i].begin,
                                 " overlap"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool BeginsLikeZip(Bytes file) {
  return file.size() >= sizeof(uint32_t) && Number<uint32_t>(file, 0) == kLocalSignature;
}

absl::StatusOr<ZipEntries> ReadZip(Bytes file) {
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(file));
  ZipEntries entries;
  std::vector<Range> ranges;
  Bytes rest = file.subspan(directory.begin, directory.size);
  while (!rest.empty()) {
    ASSIGN_OR_RETURN(const Entry entry, NextEntry(rest));
    ASSIGN_OR_RETURN(const Bytes bytes, FindBytes(file, entry, directory.begin));
    if (!entries.emplace(entry.name, bytes).second) {
      return Refuse(absl::StrCat("two entries of the name ", Quoted(entry.name)));
    }
    ranges.push_back(
        {entry.header, static_cast<uint64_t>(bytes.data() - file.data()) + entry.size});
  }
  RETURN_IF_ERROR(CheckDisjoint(std::move(ranges)));
  return entries;
}

}  // namespace whipsnake::engine
