// whipsnake token create
#include "server/access/token.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/atomic_file.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
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
    return engine::InvalidField("NAME", engine::Quoted(flags.name),
                                "1 to 64 letters, digits, '.', '_' and '-'");
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

// Adds the record's line to the file, which has either all of it or none.
absl::Status AddLine(const std::string& path, const TokenRecord& record) {
  ASSIGN_OR_RETURN(const engine::Descriptor lock, LockFile(path));
  struct stat info = {};
  if (fstat(lock.get(), &info) != 0) return engine::FileError(errno, path);
  ASSIGN_OR_RETURN(std::string text, engine::ReadTextFile(path));
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  absl::StrAppend(&text, ToLine(record), "\n");
  // What was there before is checked too: the server would refuse the whole file.
  RETURN_IF_ERROR(engine::WithPath(TokenTable::Parse(text).status(), path));
  ASSIGN_OR_RETURN(engine::AtomicFile file,
                   engine::AtomicFile::Create(path, static_cast<int>(info.st_mode & 0777)));
  RETURN_IF_ERROR(file.Append(text));
  RETURN_IF_ERROR(file.Commit());
  // If root adds to the file of the server's user, it stays that user's.
  if (info.st_uid != geteuid() && chown(path.c_str(), info.st_uid, info.st_gid) != 0) {
    return engine::FileError(errno, path);
  }
  return absl::OkStatus();
}

void Print(const TokenFlags& flags, const TokenRecord& record, const std::string& token,
           const Output& output) {
  if (output.json()) {
    Json object = {{"token", token}, {"name", record.name}, {"line", ToLine(record)}};
    if (!flags.file.empty()) object["file"] = flags.file;
    output.Object(object);
    return;
  }
  std::cout << token << "\n";
  if (flags.file.empty()) {
    std::cerr << "This is the only time that the token is shown. The line for the server's file "
                 "of tokens:\n";
    std::cout << ToLine(record) << "\n";
  } else {
    std::cerr << "This is the only time that the token is shown. " << flags.file
              << " has its digest; a server reads the file again within a minute, or at once "
                 "after SIGHUP.\n";
  }
}

absl::StatusOr<int> Create(const TokenFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const std::string token, NewToken());
  ASSIGN_OR_RETURN(const TokenRecord record, MakeRecord(flags, token));
  if (!flags.file.empty()) RETURN_IF_ERROR(AddLine(flags.file, record));
  Print(flags, record, token, output);
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
                 "The file of tokens, which is made if there is none; without it, the line is "
                 "printed")
      .TypeName("FILE");
}

}  // namespace whipsnake::server
