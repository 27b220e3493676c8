#include "engine/checkpoint/zip_archive.h"

#include <optional>

#include "engine/base/status.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;

template <typename T>
std::string Little(T number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

// An entry as the directory describes it, and what its local header says where that differs.
struct ZipEntry {
  std::string name;
  std::string data = {};
  uint16_t flags = 0x0808;  // as torch.save sets them
  uint16_t method = 0;
  std::optional<uint32_t> offset = {};  // in the directory, if not the true one
  std::optional<uint32_t> size = {};
  std::string local_name = {};
  bool in_64_bits = false;
};

std::string ZipBytes(const std::vector<ZipEntry>& entries, bool end64 = false) {
  std::string file, directory;
  for (const ZipEntry& entry : entries) {
    const auto size = entry.size.value_or(static_cast<uint32_t>(entry.data.size()));
    const auto offset = entry.offset.value_or(static_cast<uint32_t>(file.size()));
    const std::string& name = entry.local_name.empty() ? entry.name : entry.local_name;
    const std::string sizes =
        entry.in_64_bits ? Little(~0u) + Little(~0u) : Little(size) + Little(size);
    const std::string extra =
        entry.in_64_bits ? Little<uint16_t>(1) + Little<uint16_t>(24) + Little<uint64_t>(size) +
                               Little<uint64_t>(size) + Little<uint64_t>(offset)
                         : "";
    const std::string common = Little(entry.flags) + Little(entry.method) + Little(0u) + Little(0u);
    file += Little(0x04034b50u) + Little<uint16_t>(45) + common + sizes +
            Little<uint16_t>(name.size()) + Little<uint16_t>(4) + name + "\x42\x46" +
            Little<uint16_t>(0) + entry.data;
    directory += Little(0x02014b50u) + Little(0u) + common + sizes +
                 Little<uint16_t>(entry.name.size()) + Little<uint16_t>(extra.size()) +
                 std::string(10, '\0') + (entry.in_64_bits ? Little(~0u) : Little(offset)) +
                 entry.name + extra;
  }
  const size_t begin = file.size();
  file += directory;
  if (end64) {
    const size_t at = file.size();
    file += Little(0x06064b50u) + Little<uint64_t>(44) + std::string(28, '\0') +
            Little<uint64_t>(directory.size()) + Little<uint64_t>(begin) + Little(0x07064b50u) +
            Little(0u) + Little<uint64_t>(at) + Little(1u);
  }
  return file + Little(0x06054b50u) + std::string(8, '\0') +
         Little(end64 ? ~0u : static_cast<uint32_t>(directory.size())) +
         Little(end64 ? ~0u : static_cast<uint32_t>(begin)) + Little<uint16_t>(0);
}

absl::StatusOr<std::map<std::string, std::string>> ReadEntries(const std::string& file) {
  ASSIGN_OR_RETURN(const ZipEntries entries, ReadZip(std::as_bytes(std::span(file))));
  std::map<std::string, std::string> texts;
  for (const auto& [name, bytes] : entries) {
    texts[name] = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  return texts;
}

TEST(ReadZip, FindsStoredEntries) {
  const std::map<std::string, std::string> expected = {{"a/data.pkl", "xyz"}, {"a/data/0", ""}};
  for (const bool wide : {false, true}) {
    const std::vector<ZipEntry> entries = {
        {.name = "a/data.pkl", .data = "xyz", .in_64_bits = wide},
        {.name = "a/data/0", .in_64_bits = wide}};
    const auto read = ReadEntries(ZipBytes(entries, wide));
    ASSERT_THAT(read, IsOk());
    EXPECT_EQ(*read, expected);
  }
  EXPECT_EQ(ReadEntries(ZipBytes({}))->size(), 0);
}

TEST(ReadZip, RefusesByName) {
  const auto refused = [](const std::vector<ZipEntry>& entries, const std::string& text) {
    EXPECT_THAT(ReadEntries(ZipBytes(entries)), Fails(Code::kInvalidArgument, text));
    EXPECT_THAT(ReadEntries(ZipBytes(entries, true)), Fails(Code::kInvalidArgument, text));
  };
  refused({{.name = "a", .data = "x", .method = 8}}, "\"a\": it is compressed");
  refused({{.name = "a", .data = "x", .flags = 1}}, "\"a\": it is encrypted");
  refused({{"a", "x"}, {"a", "y"}}, "two entries of the name \"a\"");
  refused({{.name = "a", .data = "x", .offset = 1}}, "\"a\": its header is not where");
  refused({{.name = "a", .data = "x", .offset = 0xfffffff0}}, "\"a\": its header is not where");
  refused({{.name = "a", .data = "x", .size = 1u << 31}}, "\"a\": it ends after");
  refused({{.name = "a", .data = "x", .local_name = "b"}}, "\"a\": its header has another name");
  // One entry lies in the bytes of another.
  const std::string inner = ZipBytes({{"b", "y"}});
  refused({{"a", inner}, {.name = "b", .data = "y", .offset = 30 + 1 + 4}}, "overlap");
}

TEST(ReadZip, RefusesEveryTruncationAndNothingCrashesOnEveryByteChanged) {
  for (const bool wide : {false, true}) {
    const std::string whole = ZipBytes({{.name = "a", .data = "xyz", .in_64_bits = wide},
                                        {.name = "b", .data = "w", .in_64_bits = wide}},
                                       wide);
    ASSERT_THAT(ReadEntries(whole), IsOk());
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THAT(ReadEntries(whole.substr(0, size)), Fails(Code::kInvalidArgument, "")) << size;
    }
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const char value : {'\0', '\x7f', '\xff'}) {
        std::string changed = whole;
        changed[at] = value;
        const auto read = ReadEntries(changed);
        EXPECT_EQ(read.ok(), read.status().message().empty());
      }
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
