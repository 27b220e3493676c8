#include "engine/checkpoint/mapping_faults.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace whipsnake::engine {
namespace {

std::array<FaultRange, 4096> ranges;
uintptr_t page_bytes = 4096;      // set before the handler is installed
struct sigaction earlier_action;  // the SIGBUS action before ours

FaultRange* FindRange(uintptr_t address) {
  for (FaultRange& range : ranges) {
    const uintptr_t begin = range.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin) continue;
    const size_t size = range.size.load(std::memory_order_acquire);
    // Read `begin` again: the range was not given to another mapping in between.
    if (address - begin < size && range.begin.load(std::memory_order_acquire) == begin) {
      return &range;
    }
  }
  return nullptr;
}

// Maps zeros from the page of the fault to the end of the mapping: if a page lies beyond the end of
// the file, so do all pages after it. So a mapping is split into few pieces, however much is
// missing.
bool PutZeros(const FaultRange& range, uintptr_t address) {
  const uintptr_t page = address & ~(page_bytes - 1);
  const size_t size = range.begin.load() + range.size.load() - page;
  // Uses the raw system call: a signal handler must not run a sanitizer's wrapper of mmap().
  return syscall(SYS_mmap, page, size, PROT_READ,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != -1;
}

void OnFault(int signal, siginfo_t* info, void*) {
  const int error = errno;
  const bool is_fault = info->si_code > 0;  // not a signal sent by a process
  if (is_fault) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    FaultRange* const range = FindRange(address);
    if (range != nullptr) {
      range->damaged.store(true, std::memory_order_release);  // before any thread can see the zeros
      if (PutZeros(*range, address)) {
        errno = error;
        return;
      }
    }
  }
  // Restore the earlier action. A faulting instruction then faults again; a signal that a process
  // sent is raised again.
  sigaction(signal, &earlier_action, nullptr);
  if (!is_fault) raise(signal);
  errno = error;
}

bool Install() {
  page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, &earlier_action) == 0;
}

}  // namespace

FaultRange* WatchFaults(std::span<const std::byte> mapping) {
  static const bool installed = Install();
  if (!installed) return nullptr;
  for (FaultRange& range : ranges) {
    if (range.taken.exchange(true)) continue;
    range.damaged.store(false);
    range.size.store(mapping.size());
    range.begin.store(reinterpret_cast<uintptr_t>(mapping.data()), std::memory_order_release);
    return &range;
  }
  return nullptr;
}

void UnwatchFaults(FaultRange* range) {
  if (range == nullptr) return;
  range->begin.store(0);
  range->taken.store(false);
}

}  // namespace whipsnake::engine
