#include "engine/models/pass_memory.h"

#include "engine/base/status.h"

namespace whipsnake::engine {

absl::Status PassMemory::Reserve(const Need& need) {
  if (shared_ == nullptr || shared_bytes_ < need.shared) {
    ASSIGN_OR_RETURN(shared_, executor_.ReserveScratch(priority_, ledger_, need.shared));
    shared_bytes_ = need.shared;
  }
  if (own_.size() >= need.own) return absl::OkStatus();
  own_ = Buffer();  // free the old buffer before allocating the new one
  ASSIGN_OR_RETURN(own_,
                   ledger_.Allocate(need.own, Purpose::kWorkspace, "workspace of a forward pass"));
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
