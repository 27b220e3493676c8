#include "tests/server/failing_memory.h"

#include <cstdlib>
#include <new>

namespace whipsnake::server {
namespace {

thread_local int64_t allocations_left = -1;  // until one fails; -1: none fails
thread_local bool allocation_failed = false;

void* Allocate(size_t bytes) noexcept {
  if (allocations_left >= 0 && allocations_left-- == 0) {
    allocation_failed = true;
    return nullptr;
  }
  return std::malloc(bytes == 0 ? 1 : bytes);
}

}  // namespace

FailingMemory::FailingMemory(int64_t allocations) {
  allocation_failed = false;
  allocations_left = allocations;
}

FailingMemory::~FailingMemory() { allocations_left = -1; }

bool FailingMemory::failed() const { return allocation_failed; }

}  // namespace whipsnake::server

void* operator new(size_t bytes) {
  void* const memory = whipsnake::server::Allocate(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return whipsnake::server::Allocate(bytes);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
