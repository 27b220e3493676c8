#include "server/rpc/upload_places.h"

namespace whipsnake::server {

bool UploadPlaces::Take(const std::shared_ptr<PlaceHolder>& holder) {
  std::shared_ptr<PlaceHolder> displaced;
  {
    engine::MutexLock lock(mutex_);
    if (std::ssize(places_) >= options_.limit) {
      const auto silent = LongestSilent();
      if (silent == places_.end()) return false;
      displaced = silent->second.holder.lock();
      places_.erase(silent);
    }
    places_[holder.get()] = {.holder = holder, .silent_since = std::nullopt};
  }
  if (displaced != nullptr) displaced->GiveWay();
  return true;
}

UploadPlaces::Places::iterator UploadPlaces::LongestSilent() {
  auto longest = places_.end();
  for (auto place = places_.begin(); place != places_.end(); ++place) {
    const std::optional<WallTime>& since = place->second.silent_since;
    if (!since || options_.now() - *since <= options_.patience) continue;
    if (longest == places_.end() || *since < *longest->second.silent_since) longest = place;
  }
  return longest;
}

void UploadPlaces::SetSilent(PlaceHolder* holder, bool silent) {
  engine::MutexLock lock(mutex_);
  const auto place = places_.find(holder);
  if (place == places_.end()) return;
  place->second.silent_since = silent ? std::optional(options_.now()) : std::nullopt;
}

void UploadPlaces::Free(PlaceHolder* holder) {
  engine::MutexLock lock(mutex_);
  places_.erase(holder);
}

}  // namespace whipsnake::server
