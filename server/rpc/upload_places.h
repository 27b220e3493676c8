// The places for uploads in progress, of which there are few. A client that sends nothing keeps its
// place only as long as no other needs it.
#ifndef WHIPSNAKE_SERVER_RPC_UPLOAD_PLACES_H_
#define WHIPSNAKE_SERVER_RPC_UPLOAD_PLACES_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "engine/base/mutex.h"
#include "server/store/store.h"

namespace whipsnake::server {

// What holds a place. GiveWay is called at most once, on any thread, with no lock held.
class PlaceHolder {
 public:
  virtual ~PlaceHolder() = default;
  virtual void GiveWay() = 0;
};

struct UploadPlacesOptions {
  int limit = 8;
  std::chrono::milliseconds patience{5'000};  // with a silent upload
  std::function<WallTime()> now = std::chrono::system_clock::now;
};

// Thread-safe.
class UploadPlaces {
 public:
  explicit UploadPlaces(UploadPlacesOptions options) : options_(std::move(options)) {}

  // Takes a place. If there is none, takes that of the upload that has been silent for longest, and
  // for longer than the patience, and tells it to give way. Returns whether there was one.
  bool Take(const std::shared_ptr<PlaceHolder>& holder);
  // Says whether the server waits for data of this upload. Nothing happens if it has no place.
  void SetSilent(PlaceHolder* holder, bool silent);
  // Nothing happens if it has none.
  void Free(PlaceHolder* holder);

 private:
  struct Place {
    std::weak_ptr<PlaceHolder> holder;
    std::optional<WallTime> silent_since;
  };
  using Places = std::map<PlaceHolder*, Place>;

  // The place that a newcomer may have, or the end.
  Places::iterator LongestSilent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UploadPlacesOptions options_;
  engine::Mutex mutex_;
  Places places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_UPLOAD_PLACES_H_
