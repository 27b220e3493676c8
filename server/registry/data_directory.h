// The directory for data that outlives the process (--data). One process uses it at a time.
#ifndef WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_
#define WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/base/files.h"

namespace whipsnake::server {

// Movable. The lock is released on destruction, and also if the process dies.
class DataDirectory {
 public:
  // Creates the directory if it is missing, accessible only to this user (0700), and locks the file
  // "lock" in it. Returns FAILED_PRECONDITION, with the id of the process that holds the lock, if
  // it is locked; otherwise errors for the field "--data". An empty path opens no directory.
  static absl::StatusOr<DataDirectory> Open(const std::string& path);

  // The directory of saved states, accessible only to this user. "" if there is no data directory.
  const std::string& states() const { return states_; }
  // The directories of data sets, of jobs' files, and of promoted versions (ModelVersions). As
  // above.
  const std::string& datasets() const { return datasets_; }
  const std::string& jobs() const { return jobs_; }
  const std::string& models() const { return models_; }
  // The file of the store's database; ":memory:", which is none, if there is no data directory.
  const std::string& store() const { return store_; }

 private:
  std::string states_, datasets_, jobs_, models_;
  std::string store_ = ":memory:";
  engine::Descriptor lock_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_REGISTRY_DATA_DIRECTORY_H_
