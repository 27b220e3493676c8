// The directory of what outlives the process (--data), which one process has at a time.
#ifndef WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_
#define WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/files.h"

namespace whipsnake::server {

// Movable; the directory is free again at its end, and also when the process dies.
class DataDirectory {
 public:
  // Makes the directory where it is not there, for this user alone (0700), and locks the file
  // "lock" in it. FAILED_PRECONDITION, with the id of the process that has it, where it is taken;
  // otherwise errors of the field "--data". Empty: none is kept.
  static absl::StatusOr<DataDirectory> Open(const std::string& path);

  // Of saved states, for this user alone; "" where none is kept.
  const std::string& states() const { return states_; }

 private:
  std::string states_;
  engine::Descriptor lock_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_
