#include "engine/base/memory.h"

#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

absl::Status Exhausted(std::string_view what, int64_t bytes, int64_t used, int64_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat(ToAbsl(what), ": needs ", bytes, " bytes of memory, but ", used, " of the ",
                   limit, " allowed are in use: ", bytes - (limit - used), " are missing"));
}

}  // namespace

std::string_view Name(Purpose purpose) {
  switch (purpose) {
    case Purpose::kWeights:
      return "weights";
    case Purpose::kStates:
      return "states";
    case Purpose::kActivations:
      return "activations";
    case Purpose::kOptimizer:
      return "optimizer";
    case Purpose::kWorkspace:
      return "workspace";
    case Purpose::kRequests:
      return "requests";
    case Purpose::kJobs:
      return "jobs";
    case Purpose::kStructured:
      return "structured";
  }
  return "unknown";
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(purpose_, other.purpose_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Reservation::~Reservation() {
  if (ledger_ != nullptr) ledger_->Release(bytes_, purpose_);
}

void Reservation::Add(Reservation more) {
  if (ledger_ == nullptr) {
    *this = std::move(more);
  } else {
    bytes_ += std::exchange(more.bytes_, 0);
  }
}

void Reservation::ShrinkTo(int64_t bytes) {
  if (bytes >= bytes_) return;
  ledger_->Release(bytes_ - bytes, purpose_);
  bytes_ = bytes;
}

absl::Status Buffer::Fill(absl::FunctionRef<void(std::byte* host)> fill) {
  if (device() == kernels::Device::kCpu) {
    fill(data());
    return absl::OkStatus();
  }
  std::vector<std::byte> host(size());
  fill(host.data());
  return CopyFromHost(host);
}

void Ledger::Register(Reclaimer* reclaimer) {
  MutexLock lock(reclaimers_mutex_);
  reclaimers_.push_back(reclaimer);
}

void Ledger::Unregister(Reclaimer* reclaimer) {
  MutexLock lock(reclaimers_mutex_);
  std::erase(reclaimers_, reclaimer);
}

absl::Status Ledger::MakeRoom(int64_t bytes, std::string_view what,
                              const std::function<bool()>& try_again) {
  if (bytes < 0)
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(what), ": ", bytes, " bytes asked for"));
  if (try_again()) return absl::OkStatus();
  if (bytes > limit_) return Exhausted(what, bytes, used(), limit_);
  MutexLock lock(reclaimers_mutex_);
  for (Reclaimer* reclaimer : reclaimers_) {
    // Reclaimed memory may still be in use elsewhere, so repeat until the reclaimer has nothing
    // left.
    while (reclaimer->Reclaim(bytes - (limit_ - used())) > 0) {
      if (try_again()) return absl::OkStatus();
    }
  }
  // Another thread may have released memory in the meantime.
  return try_again() ? absl::OkStatus() : Exhausted(what, bytes, used(), limit_);
}

absl::Status Ledger::CheckFits(int64_t bytes, std::string_view what) {
  RETURN_IF_ERROR(MakeRoom(bytes, what, [&] { return limit_ == 0 || bytes <= limit_ - used(); }));
  return parent_ != nullptr ? parent_->CheckFits(bytes, what) : absl::OkStatus();
}

bool Ledger::TryAdd(int64_t bytes) {
  int64_t total = used();
  do {
    if (limit_ > 0 && bytes > limit_ - total) return false;
  } while (!total_.compare_exchange_weak(total, total + bytes, std::memory_order_relaxed));
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < total + bytes &&
         !peak_.compare_exchange_weak(peak, total + bytes, std::memory_order_relaxed)) {
  }
  return true;
}

absl::Status Ledger::Add(int64_t bytes, Purpose purpose, std::string_view what) {
  RETURN_IF_ERROR(MakeRoom(bytes, what, [&] { return TryAdd(bytes); }));
  used_[static_cast<int>(purpose)].fetch_add(bytes, std::memory_order_relaxed);
  if (parent_ == nullptr) return absl::OkStatus();
  const absl::Status status = parent_->Add(bytes, parent_purpose_, what);
  if (!status.ok()) ReleaseHere(bytes, purpose);
  return status;
}

absl::StatusOr<Reservation> Ledger::Reserve(int64_t bytes, Purpose purpose, std::string_view what) {
  RETURN_IF_ERROR(Add(bytes, purpose, what));
  return Reservation(this, purpose, bytes);
}

absl::StatusOr<Buffer> Ledger::Allocate(int64_t bytes, Purpose purpose, std::string_view what,
                                        bool zeroed) {
  ASSIGN_OR_RETURN(Reservation reservation, Reserve(bytes, purpose, what));
  if (!has_memory()) {
    return Buffer(kernels::DeviceMemory::WithoutMemory(device_, bytes), std::move(reservation));
  }
  auto memory = kernels::DeviceMemory::Allocate(device_, bytes, zeroed);
  if (!memory.ok()) return WithContext(memory.status(), what);
  return Buffer(*std::move(memory), std::move(reservation));
}

void Ledger::Release(int64_t bytes, Purpose purpose) {
  ReleaseHere(bytes, purpose);
  if (parent_ != nullptr) parent_->Release(bytes, parent_purpose_);
}

void Ledger::ReleaseHere(int64_t bytes, Purpose purpose) {
  total_.fetch_sub(bytes, std::memory_order_relaxed);
  used_[static_cast<int>(purpose)].fetch_sub(bytes, std::memory_order_relaxed);
}

}  // namespace whipsnake::engine
