// whipsnake token create
#include "server/access/token.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/access/token_table.h"
#include "server/cli/command.h"

namespace whipsnake::server {
namespace {

using WallTime = std::chrono::system_clock::time_point;

constexpr int kMaxDays = 3650;

struct TokenFlags {
  std::string name;
  std::vector<std::string> scopes;
  std::string expires;
  std::string description;
  std::string file;
};

// "90d", a date, or a time.
absl::StatusOr<WallTime> ReadExpiry(const std::string& text, WallTime now) {
  int days = 0;
  if (text.ends_with('d') && absl::SimpleAtoi(text.substr(0, text.size() - 1), &days)) {
    if (days >= 1 && days <= kMaxDays) return now + std::chrono::hours(24 * days);
    return engine::InvalidField("--expires", text, absl::StrCat("1d to ", kMaxDays, "d"));
  }
  ASSIGN_OR_RETURN(const WallTime time, ParseExpiry("--expires", text));
  if (time > now) return time;
  return engine::InvalidField("--expires", text, "a time that has not passed");
}

absl::StatusOr<TokenRecord> MakeRecord(const TokenFlags& flags, const std::string& token) {
  if (!IsTokenName(flags.name)) {
    return engine::InvalidField("NAME", RedactTokens(engine::Quoted(flags.name)), kTokenNameForm);
  }
  if (!engine::IsUtf8(flags.description)) {
    return engine::InvalidField("--description", "bytes that are not UTF-8", "text");
  }
  if (flags.description.size() > TokenTable::kMaxRemarkBytes) {
    return engine::InvalidField("--description", absl::StrCat(flags.description.size(), " bytes"),
                                absl::StrCat("at most ", TokenTable::kMaxRemarkBytes));
  }
  TokenRecord record = {.name = flags.name,
                        .sha256 = TokenDigest(token),
                        .certificate = "",
                        .scopes = {},
                        .expires = {},
                        .description = flags.description};
  for (const std::string& scope : flags.scopes) record.scopes.Add(*ParseTokenScope(scope));
  if (!flags.expires.empty()) {
    ASSIGN_OR_RETURN(record.expires, ReadExpiry(flags.expires, std::chrono::system_clock::now()));
  }
  return record;
}

// Follows the symbolic links at the end of the path, also to a file that is not there yet: a file
// that replaces another one would replace the link.
absl::StatusOr<std::string> FollowLinks(const std::string& path) {
  constexpr int kMostLinks = 40;  // as the system's
  std::filesystem::path followed = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(followed, error); ++links) {
    if (links == kMostLinks) return engine::FileError(ELOOP, path);
    const std::filesystem::path target = std::filesystem::read_symlink(followed, error);
    if (error) return engine::FileError(error.value(), path);
    followed = followed.parent_path() / target;
  }
  return followed.string();
}

// Opens the file, or makes it, and locks it, so that one command at a time changes it. A command
// replaces the file, so whoever has waited looks again whether this is the file.
absl::StatusOr<engine::Descriptor> LockFile(const std::string& path) {
  while (true) {
    engine::Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    struct stat locked = {}, named = {};
    if (file.get() < 0 || flock(file.get(), LOCK_EX) != 0 || fstat(file.get(), &locked) != 0) {
      return engine::FileError(errno, path);
    }
    if (stat(path.c_str(), &named) == 0 && named.st_ino == locked.st_ino) return file;
  }
}

// Adds a line to the file, which has either all of it or none. The file keeps its owner, its group
// and its permissions, so that a server that may read it still may.
absl::Status AddLine(const std::string& file_or_link, const std::string& line) {
  if (IsTokenForPath(file_or_link)) {
    return engine::InvalidField("--tokens", "a token", "the path of a file");
  }
  ASSIGN_OR_RETURN(const std::string path, FollowLinks(file_or_link));
  ASSIGN_OR_RETURN(const engine::Descriptor lock, LockFile(path));
  struct stat info = {};
  if (fstat(lock.get(), &info) != 0) return engine::FileError(errno, path);
  ASSIGN_OR_RETURN(std::string text, engine::ReadTextFile(path));
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  absl::StrAppend(&text, line, "\n");
  // What was there before is checked too: the server would refuse the whole file.
  RETURN_IF_ERROR(engine::WithPath(TokenTable::Parse(text).status(), path));
  ASSIGN_OR_RETURN(engine::AtomicFile file, engine::AtomicFile::Create(path, 0600));
  RETURN_IF_ERROR(file.SetOwner(info.st_uid, info.st_gid, info.st_mode & 0777));
  RETURN_IF_ERROR(file.Append(text));
  return file.Commit();
}

// Standard output has what is left to store: the token, or the line if it is in no file yet. So
// neither `>> tokens.jsonl` nor `> ci.token` stores both.
void Print(const TokenFlags& flags, const std::string& line, const std::string& token,
           const Output& output) {
  if (output.json()) {
    Json object = {{"token", token}, {"name", flags.name}, {"line", line}};
    if (!flags.file.empty()) object["file"] = flags.file;
    output.Object(object);
    return;
  }
  constexpr std::string_view kOnce = "This is the only time that the token is shown.";
  if (flags.file.empty()) {
    std::cerr << token << "\n" << kOnce << " The line for the server's file of tokens:\n";
    std::cout << line << "\n";
  } else {
    std::cout << token << "\n";
    std::cerr << kOnce << " " << flags.file
              << " has its digest; a server reads the file again within a minute, or at once "
                 "after SIGHUP.\n";
  }
}

absl::StatusOr<int> Create(const TokenFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const std::string token, NewToken());
  ASSIGN_OR_RETURN(const TokenRecord record, MakeRecord(flags, token));
  const std::string line = ToLine(record);
  RETURN_IF_ERROR(TokenTable::Parse(line).status());  // the server would refuse it
  if (!flags.file.empty()) RETURN_IF_ERROR(AddLine(flags.file, line));
  Print(flags, line, token, output);
  return 0;
}

}  // namespace

void AddTokenCommands(CommandLine& line) {
  auto flags = std::make_shared<TokenFlags>();
  CommandGroup token = line.AddGroup("token", "Makes the tokens that callers of a server present");
  Command create = line.Add(token, "create",
                            "Makes a token, prints it once, and adds its digest to the server's "
                            "file of tokens",
                            "  whipsnake token create ci --scope infer --tokens tokens.jsonl\n"
                            "  whipsnake token create trainer --scope infer --scope train "
                            "--expires 90d --tokens tokens.jsonl\n"
                            "  whipsnake token create prometheus --tokens tokens.jsonl\n",
                            [flags](const Output& output) { return Create(*flags, output); });
  create.AddOption("NAME", flags->name, "Names the token in the log and in errors")
      .TypeName("NAME")
      .Required();
  create
      .AddOption("--scope", flags->scopes,
                 "What the token is good for: infer, train or admin (everything); repeatable. "
                 "Without it, only for /metrics")
      .Repeatable()
      .Choices({"infer", "train", "admin"})
      .TypeName("SCOPE");
  create
      .AddOption("--expires", flags->expires,
                 "When the token ends: a number of days as in 90d, a date, or a time as in "
                 "2027-01-01T00:00:00Z (default: never)")
      .TypeName("WHEN");
  create.AddOption("--description", flags->description, "A remark for whoever reads the file")
      .TypeName("TEXT");
  create
      .AddOption("--tokens", flags->file,
                 "The file of tokens, which is made if there is none. Without it, the line for the "
                 "file is printed, and the token on stderr")
      .TypeName("FILE");
}

}  // namespace whipsnake::server
