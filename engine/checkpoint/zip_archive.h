// Finds the entries of a zip archive in memory (PKWARE's APPNOTE 6.3).
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_ZIP_ARCHIVE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_ZIP_ARCHIVE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// The bytes of each entry, which lie in the archive.
using ZipEntries = std::map<std::string, std::span<const std::byte>, std::less<>>;

// Whether the bytes begin like an archive with at least one entry.
bool BeginsLikeZip(std::span<const std::byte> file);

// Accepts archives whose entries are stored as they are, with or without the 64-bit extension, as
// torch.save writes them. Returns INVALID_ARGUMENT, naming the entry, for one that is compressed or
// encrypted, lies outside the archive, overlaps another entry or the directory, or has a name
// twice; and for a directory of more than 64 MiB. Checksums are not compared.
absl::StatusOr<ZipEntries> ReadZip(std::span<const std::byte> file);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_ZIP_ARCHIVE_H_
